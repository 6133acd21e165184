import Support

/// An expression of a template.
indirect enum TemplateExpression {
    case literal(TemplateValue)
    case name(String)
    case list([TemplateExpression])
    case dictionary([(TemplateExpression, TemplateExpression)])
    case attribute(TemplateExpression, String)
    case subscripted(TemplateExpression, TemplateExpression)
    case slice(
        TemplateExpression, from: TemplateExpression?, to: TemplateExpression?, step: TemplateExpression?)
    case call(TemplateExpression, [TemplateExpression], named: [(String, TemplateExpression)])
    case filter(TemplateExpression, String, [TemplateExpression], named: [String])
    case test(TemplateExpression, String, [TemplateExpression], isNegated: Bool)
    case not(TemplateExpression)
    case negative(TemplateExpression)
    case binary(String, TemplateExpression, TemplateExpression)
    case conditional(TemplateExpression, then: TemplateExpression, otherwise: TemplateExpression?)

    static let tests: Set = [
        "defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer",
        "boolean",
        "true", "false", "even", "odd", "divisibleby", "equalto", "eq", "in",
    ]
    static let filters: Set = [
        "trim", "upper", "lower", "length", "count", "tojson", "join", "first", "last", "default", "list",
        "string",
        "int", "safe", "items", "replace",
    ]
    static let methods: Set = [
        "strip", "lstrip", "rstrip", "startswith", "endswith", "split", "upper", "lower", "replace", "items",
        "get",
        "keys",
    ]
    static let functions: Set = ["raise_exception", "namespace", "range", "strftime_now"]
}

/// Parses the tokens of one expression or statement.
struct TemplateExpressionParser {
    private let tokens: [TemplateToken]
    private let place: TemplatePlace
    private var position = 0

    init(_ tokens: [TemplateToken], _ place: TemplatePlace) {
        self.tokens = tokens
        self.place = place
    }

    var isAtEnd: Bool { position == tokens.count }

    func failure(expected: String) -> Failure {
        place.failure(
            "expected \(expected), found \(isAtEnd ? "the end" : "\"\(tokens[position].text)\"")")
    }

    // MARK: Tokens

    mutating func take(_ symbol: String) -> Bool {
        guard !isAtEnd, tokens[position] == .symbol(symbol) else { return false }
        position += 1
        return true
    }

    mutating func takeWord(_ word: String) -> Bool {
        guard !isAtEnd, tokens[position] == .name(word) else { return false }
        position += 1
        return true
    }

    mutating func name() throws -> String {
        guard !isAtEnd, case .name(let name) = tokens[position] else { throw failure(expected: "a name") }
        position += 1
        return name
    }

    mutating func require(_ symbol: String) throws {
        guard take(symbol) else { throw failure(expected: "\"\(symbol)\"") }
    }

    func requireEnd() throws {
        guard isAtEnd else { throw failure(expected: "the end") }
    }

    // MARK: Expressions, the loosest binding first

    mutating func expression() throws -> TemplateExpression {
        let value = try disjunction()
        guard takeWord("if") else { return value }
        let condition = try disjunction()
        return .conditional(condition, then: value, otherwise: takeWord("else") ? try expression() : nil)
    }

    mutating func disjunction() throws -> TemplateExpression {
        var left = try conjunction()
        while takeWord("or") { left = .binary("or", left, try conjunction()) }
        return left
    }

    private mutating func conjunction() throws -> TemplateExpression {
        var left = try negation()
        while takeWord("and") { left = .binary("and", left, try negation()) }
        return left
    }

    private mutating func negation() throws -> TemplateExpression {
        takeWord("not") ? .not(try negation()) : try comparison()
    }

    private mutating func comparison() throws -> TemplateExpression {
        var left = try sum()
        while true {
            if let symbol = ["==", "!=", "<=", ">=", "<", ">"].first(where: { take($0) }) {
                left = .binary(symbol, left, try sum())
            } else if takeWord("in") {
                left = .binary("in", left, try sum())
            } else if !isAtEnd, tokens[position] == .name("not"), position + 1 < tokens.count,
                tokens[position + 1] == .name("in")
            {
                position += 2
                left = .not(.binary("in", left, try sum()))
            } else {
                return left
            }
        }
    }

    private mutating func sum() throws -> TemplateExpression {
        var left = try product()
        while let symbol = ["+", "-", "~"].first(where: { take($0) }) {
            left = .binary(symbol, left, try product())
        }
        return left
    }

    private mutating func product() throws -> TemplateExpression {
        var left = try unary()
        while let symbol = ["*", "//", "%"].first(where: { take($0) }) {
            left = .binary(symbol, left, try unary())
        }
        return left
    }

    private mutating func unary() throws -> TemplateExpression {
        if take("-") { return .negative(try unary()) }
        return try filtered(postfix(primary()))
    }

    private mutating func filtered(_ value: TemplateExpression) throws -> TemplateExpression {
        var value = value
        while true {
            if take("|") {
                let name = try name()
                guard TemplateExpression.filters.contains(name) else {
                    throw place.failure("the filter \"\(name)\" is not built in")
                }
                let (positional, named) = take("(") ? try arguments() : ([], [])
                value = .filter(value, name, positional, named: named.map(\.0))
            } else if takeWord("is") {
                let isNegated = takeWord("not")
                let name = try name()
                guard TemplateExpression.tests.contains(name) else {
                    throw place.failure("the test \"\(name)\" is not built in")
                }
                value = .test(value, name, take("(") ? try arguments().positional : [], isNegated: isNegated)
            } else {
                return value
            }
        }
    }

    private mutating func postfix(_ value: TemplateExpression) throws -> TemplateExpression {
        var value = value
        while true {
            if take(".") {
                value = .attribute(value, try name())
            } else if take("[") {
                value = try subscripting(value)
            } else if take("(") {
                let (positional, named) = try arguments()
                try checkCallable(value)
                value = .call(value, positional, named: named)
            } else {
                return value
            }
        }
    }

    private func checkCallable(_ value: TemplateExpression) throws {
        switch value {
        case .name(let name) where TemplateExpression.functions.contains(name): return
        case .attribute(_, let name) where TemplateExpression.methods.contains(name): return
        case .name(let name): throw place.failure("the function \"\(name)\" is not built in")
        case .attribute(_, let name): throw place.failure("the method \"\(name)\" is not built in")
        default: throw place.failure("expected a function to call")
        }
    }

    private mutating func subscripting(_ value: TemplateExpression) throws -> TemplateExpression {
        var parts: [TemplateExpression?] = [nil]
        var isSlice = false
        while !take("]") {
            if take(":") {
                isSlice = true
                parts.append(nil)
            } else {
                parts[parts.count - 1] = try expression()
            }
        }
        if !isSlice {
            guard let index = parts[0] else { throw failure(expected: "an index") }
            return .subscripted(value, index)
        }
        return .slice(value, from: parts[0], to: parts[1], step: parts.count > 2 ? parts[2] : nil)
    }

    /// Arguments up to the closing parenthesis.
    private mutating func arguments() throws -> (
        positional: [TemplateExpression], named: [(String, TemplateExpression)]
    ) {
        var positional: [TemplateExpression] = []
        var named: [(String, TemplateExpression)] = []
        while !take(")") {
            if position + 1 < tokens.count, tokens[position + 1] == .symbol("="),
                case .name(let key) = tokens[position]
            {
                position += 2
                named.append((key, try expression()))
            } else {
                positional.append(try expression())
            }
            guard take(",") || (!isAtEnd && tokens[position] == .symbol(")")) else {
                throw failure(expected: "\",\" or \")\"")
            }
        }
        return (positional, named)
    }

    private mutating func primary() throws -> TemplateExpression {
        guard !isAtEnd else { throw failure(expected: "an expression") }
        let token = tokens[position]
        position += 1
        switch token {
        case .string(let text): return .literal(.string(text))
        case .integer(let number): return .literal(.integer(number))
        case .name("true"), .name("True"): return .literal(.bool(true))
        case .name("false"), .name("False"): return .literal(.bool(false))
        case .name("none"), .name("None"): return .literal(.none)
        case .name(let name): return .name(name)
        case .symbol("("):
            let value = try expression()
            try require(")")
            return value
        case .symbol("["):
            var items: [TemplateExpression] = []
            while !take("]") {
                items.append(try expression())
                guard take(",") || (!isAtEnd && tokens[position] == .symbol("]")) else {
                    throw failure(expected: "\",\" or \"]\"")
                }
            }
            return .list(items)
        case .symbol("{"):
            var members: [(TemplateExpression, TemplateExpression)] = []
            while !take("}") {
                let key = try expression()
                try require(":")
                members.append((key, try expression()))
                guard take(",") || (!isAtEnd && tokens[position] == .symbol("}")) else {
                    throw failure(expected: "\",\" or \"}\"")
                }
            }
            return .dictionary(members)
        case .symbol:
            position -= 1
            throw failure(expected: "an expression")
        }
    }
}
