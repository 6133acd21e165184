import Support

/// Where in a template something stands, for errors.
struct TemplatePlace: Sendable {
    let file: String
    let line: Int

    func failure(_ message: String) -> Failure {
        .configuration("\(file): line \(line) of the template: \(message)")
    }
}

/// Cuts a template into texts, `{{ expressions }}` and `{% statements %}`, with Jinja's control of white space: `-` at a
/// border takes the white space before or after it; `trim_blocks` and `lstrip_blocks` are on, as Hugging Face has them.
struct TemplateLexer {
    enum Section {
        case text(String)
        case expression([TemplateToken], TemplatePlace)
        case statement([TemplateToken], TemplatePlace)
    }

    private let scalars: [Unicode.Scalar]
    private let file: String
    private var position = 0
    private var line = 1

    init(_ source: String, file: String) {
        // The newline at a template's end is no part of it.
        var all = Array(source.replacingCarriageReturns.unicodeScalars)
        if all.last == "\n" { all.removeLast() }
        scalars = all
        self.file = file
    }

    static func sections(of source: String, file: String) throws -> [Section] {
        var lexer = TemplateLexer(source, file: file)
        return try lexer.sections()
    }

    private mutating func sections() throws -> [Section] {
        var sections: [Section] = []
        var text: [Unicode.Scalar] = []
        while position < scalars.count {
            guard let kind = openingKind() else {
                text.append(advance())
                continue
            }
            let place = TemplatePlace(file: file, line: line)
            let control = peek(2)
            if control == "-" {
                while let last = text.last, last.properties.isWhitespace { text.removeLast() }
            } else if control != "+", kind != "{" {
                stripIndentation(&text)
            }
            if !text.isEmpty { sections.append(.text(String(String.UnicodeScalarView(text)))) }
            text = []
            skip(control == "-" || control == "+" ? 3 : 2)
            let closing: Unicode.Scalar = kind == "{" ? "}" : kind
            let (content, trims) = try content(upTo: closing, place)
            switch kind {
            case "{": sections.append(.expression(try TemplateToken.tokens(of: content, place), place))
            case "%": sections.append(.statement(try TemplateToken.tokens(of: content, place), place))
            default: break
            }
            if trims {
                while position < scalars.count, scalars[position].properties.isWhitespace { advance() }
            } else if kind != "{", peek(0) == "\n" {
                advance()
            }
        }
        if !text.isEmpty { sections.append(.text(String(String.UnicodeScalarView(text)))) }
        return sections
    }

    /// `{`, `%` or `#` when one of their openings stands here.
    private func openingKind() -> Unicode.Scalar? {
        guard peek(0) == "{", let next = peek(1), "{%#".unicodeScalars.contains(next) else { return nil }
        return next
    }

    private func peek(_ offset: Int) -> Unicode.Scalar? {
        position + offset < scalars.count ? scalars[position + offset] : nil
    }

    @discardableResult
    private mutating func advance() -> Unicode.Scalar {
        let scalar = scalars[position]
        if scalar == "\n" { line += 1 }
        position += 1
        return scalar
    }

    private mutating func skip(_ count: Int) { for _ in 0..<count { advance() } }

    /// Takes the spaces before a statement that begins its line.
    private func stripIndentation(_ text: inout [Unicode.Scalar]) {
        let kept = text.lastIndex { $0 != " " && $0 != "\t" }
        let start = position - text.count
        let beginsLine = start == 0 || scalars[start - 1] == "\n"
        if kept.map({ text[$0] == "\n" }) ?? beginsLine {
            text.removeSubrange((kept.map { $0 + 1 } ?? 0)...)
        }
    }

    /// What stands before the closing, outside of quotes, and whether the closing takes the white space after it.
    private mutating func content(upTo closing: Unicode.Scalar, _ place: TemplatePlace) throws
        -> ([Unicode.Scalar], trims: Bool)
    {
        var content: [Unicode.Scalar] = []
        var quote: Unicode.Scalar?
        while position < scalars.count {
            if quote == nil, peek(0) == closing, peek(1) == "}" {
                skip(2)
                return (content, false)
            }
            if quote == nil, let mark = peek(0), mark == "-" || mark == "+", peek(1) == closing,
                peek(2) == "}"
            {
                skip(3)
                return (content, mark == "-")
            }
            let scalar = advance()
            content.append(scalar)
            if closing == "#" { continue }
            if scalar == "\\", quote != nil, position < scalars.count {
                content.append(advance())
            } else if let open = quote {
                if scalar == open { quote = nil }
            } else if scalar == "'" || scalar == "\"" {
                quote = scalar
            }
        }
        throw place.failure(
            "expected the end of what begins with \"{\(closing == "}" ? "{" : String(closing))\"")
    }
}

/// A word of an expression.
enum TemplateToken: Equatable {
    case name(String)
    case string(String)
    case integer(Int)
    case symbol(String)

    var text: String {
        switch self {
        case .name(let name): name
        case .string(let text): "\"\(text)\""
        case .integer(let number): String(number)
        case .symbol(let symbol): symbol
        }
    }

    private static let symbols = [
        "==", "!=", "<=", ">=", "//", "**", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|", "+", "-", "*",
        "/",
        "%", "~", "<", ">", "=",
    ]

    static func tokens(of content: [Unicode.Scalar], _ place: TemplatePlace) throws -> [TemplateToken] {
        var tokens: [TemplateToken] = []
        var i = 0
        func isWord(_ scalar: Unicode.Scalar) -> Bool {
            scalar == "_" || scalar.properties.isAlphabetic || ("0"..."9").contains(scalar)
        }
        while i < content.count {
            let scalar = content[i]
            if scalar.properties.isWhitespace {
                i += 1
            } else if scalar == "'" || scalar == "\"" {
                var text = String.UnicodeScalarView()
                i += 1
                while i < content.count, content[i] != scalar {
                    if content[i] == "\\", i + 1 < content.count {
                        i += 1
                        try text.append(contentsOf: escaped(content[i], place))
                    } else {
                        text.append(content[i])
                    }
                    i += 1
                }
                i += 1
                tokens.append(.string(String(text)))
            } else if isWord(scalar) {
                let start = i
                while i < content.count, isWord(content[i]) { i += 1 }
                let word = String(String.UnicodeScalarView(content[start..<i]))
                if ("0"..."9").contains(scalar) {
                    guard let number = Int(word) else {
                        throw place.failure("expected a number, found \(word)")
                    }
                    tokens.append(.integer(number))
                } else {
                    tokens.append(.name(word))
                }
            } else {
                let rest = String(String.UnicodeScalarView(content[i..<min(i + 2, content.count)]))
                guard let symbol = symbols.first(where: { rest.hasPrefix($0) }) else {
                    throw place.failure("expected an expression, found \"\(scalar)\"")
                }
                tokens.append(.symbol(symbol))
                i += symbol.unicodeScalars.count
            }
        }
        return tokens
    }

    private static func escaped(_ scalar: Unicode.Scalar, _ place: TemplatePlace) throws -> [Unicode.Scalar] {
        switch scalar {
        case "n": ["\n"]
        case "t": ["\t"]
        case "r": ["\r"]
        case "\\", "'", "\"": [scalar]
        default: ["\\", scalar]
        }
    }
}

extension String {
    /// With line ends as "\n", which is how Jinja reads a template.
    fileprivate var replacingCarriageReturns: String {
        var out = String.UnicodeScalarView()
        var previous: Unicode.Scalar?
        for scalar in unicodeScalars {
            if scalar == "\r" {
                out.append("\n")
            } else if !(scalar == "\n" && previous == "\r") {
                out.append(scalar)
            }
            previous = scalar
        }
        return String(out)
    }
}
