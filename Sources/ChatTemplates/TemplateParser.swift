import Support

/// A part of a template.
indirect enum TemplateNode {
    case text(String)
    case output(TemplateExpression, TemplatePlace)
    case set(name: String, attribute: String?, TemplateExpression, TemplatePlace)
    case condition([(TemplateExpression?, [TemplateNode])], TemplatePlace)
    case loop(
        names: [String], TemplateExpression, condition: TemplateExpression?, [TemplateNode],
        otherwise: [TemplateNode], TemplatePlace)
    /// `{% break %}` and `{% continue %}`.
    case leave(isBreak: Bool)
}

/// Parses a template into its nodes.
struct TemplateParser {
    private let sections: [TemplateLexer.Section]
    private let file: String
    private var position = 0

    static func nodes(of source: String, file: String) throws -> [TemplateNode] {
        var parser = TemplateParser(
            sections: try TemplateLexer.sections(of: source, file: file), file: file)
        let (nodes, end) = try parser.nodes(until: [])
        precondition(end == nil)
        return nodes
    }

    private init(sections: [TemplateLexer.Section], file: String) {
        self.sections = sections
        self.file = file
    }

    /// A statement that ends a list of nodes: its first word, and what follows it.
    private typealias End = (word: String, rest: TemplateExpressionParser, place: TemplatePlace)

    /// Nodes up to a statement that begins with one of these words, or to the template's end when there are none.
    private mutating func nodes(until ends: Set<String>) throws -> ([TemplateNode], End?) {
        var nodes: [TemplateNode] = []
        while position < sections.count {
            let section = sections[position]
            position += 1
            switch section {
            case .text(let text): nodes.append(.text(text))
            case .expression(let tokens, let place):
                var parser = TemplateExpressionParser(tokens, place)
                let expression = try parser.expression()
                try parser.requireEnd()
                nodes.append(.output(expression, place))
            case .statement(let tokens, let place):
                var parser = TemplateExpressionParser(tokens, place)
                let word = try parser.name()
                if ends.contains(word) { return (nodes, (word, parser, place)) }
                nodes.append(try statement(word, &parser, place))
            }
        }
        guard ends.isEmpty else {
            let words = ends.sorted().map { "{% \($0) %}" }.joined(separator: " or ")
            throw Failure.configuration("\(file): expected \(words) before the template's end")
        }
        return (nodes, nil)
    }

    private mutating func statement(
        _ word: String, _ parser: inout TemplateExpressionParser, _ place: TemplatePlace
    ) throws -> TemplateNode {
        switch word {
        case "set": return try assignment(&parser, place)
        case "if": return try condition(parser, place)
        case "for": return try loop(&parser, place)
        case "break", "continue":
            try parser.requireEnd()
            return .leave(isBreak: word == "break")
        default: throw place.failure("the statement \"\(word)\" is not built in")
        }
    }

    private func assignment(_ parser: inout TemplateExpressionParser, _ place: TemplatePlace) throws
        -> TemplateNode
    {
        let name = try parser.name()
        let attribute = parser.take(".") ? try parser.name() : nil
        try parser.require("=")
        let value = try parser.expression()
        try parser.requireEnd()
        return .set(name: name, attribute: attribute, value, place)
    }

    private mutating func condition(_ first: TemplateExpressionParser, _ place: TemplatePlace) throws
        -> TemplateNode
    {
        var parser = first
        var branches: [(TemplateExpression?, [TemplateNode])] = []
        var condition: TemplateExpression? = try parser.expression()
        try parser.requireEnd()
        while true {
            let (body, end) = try nodes(until: ["elif", "else", "endif"])
            branches.append((condition, body))
            guard case (let word, var rest, _)? = end, word != "endif" else { break }
            condition = word == "elif" ? try rest.expression() : nil
            try rest.requireEnd()
        }
        return .condition(branches, place)
    }

    private mutating func loop(_ parser: inout TemplateExpressionParser, _ place: TemplatePlace) throws
        -> TemplateNode
    {
        var names = [try parser.name()]
        while parser.take(",") { names.append(try parser.name()) }
        guard parser.takeWord("in") else { throw parser.failure(expected: "\"in\"") }
        let items = try parser.disjunction()
        let filter = parser.takeWord("if") ? try parser.expression() : nil
        try parser.requireEnd()
        let (body, end) = try nodes(until: ["else", "endfor"])
        let otherwise = end?.word == "else" ? try nodes(until: ["endfor"]).0 : []
        return .loop(names: names, items, condition: filter, body, otherwise: otherwise, place)
    }
}
