import Support

/// The filters, tests and methods that templates use.
enum TemplateFunctions {
    // MARK: Filters

    static func filter(
        _ name: String, _ value: TemplateValue, _ arguments: [TemplateValue], _ place: TemplatePlace
    ) throws -> TemplateValue {
        switch name {
        case "trim": return .string(trimmed(try place.text(value), left: true, right: true))
        case "upper", "lower", "replace", "items": return try method(name, value, arguments, place)
        case "string": return .string(try place.text(value))
        case "safe": return value
        case "tojson":
            guard let json = value.json else { throw place.failure("tojson: \(value.kind) has no JSON") }
            return .string(json)
        case "default":
            if case .undefined = value { return arguments.first ?? .string("") }
            return value.isTrue || !(arguments.count > 1 && arguments[1].isTrue)
                ? value : arguments.first ?? .string("")
        case "int":
            if case .string(let text) = value { return .integer(Int(text) ?? 0) }
            return value
        case "join":
            let separator = try arguments.first.map { try place.text($0) } ?? ""
            return .string(try list(value, place).map { try place.text($0) }.joined(separator: separator))
        case "list": return .list(try list(value, place))
        case "first", "last":
            let items = try list(value, place)
            return (name == "first" ? items.first : items.last) ?? .undefined(name)
        default: return .integer(try list(value, place).count)
        }
    }

    // MARK: Tests

    static func test(
        _ name: String, _ value: TemplateValue, _ arguments: [TemplateValue], _ place: TemplatePlace
    ) throws -> Bool {
        switch (name, value) {
        case ("defined", .undefined), ("undefined", .undefined): return name == "undefined"
        case ("defined", _), ("undefined", _): return name == "defined"
        case ("none", .none), ("string", .string), ("boolean", .bool), ("mapping", .dictionary): return true
        case ("number", .integer), ("integer", .integer): return true
        case ("iterable", .list), ("iterable", .string), ("iterable", .dictionary): return true
        case ("sequence", .list), ("sequence", .string), ("sequence", .dictionary): return true
        case ("true", .bool(let flag)): return flag
        case ("false", .bool(let flag)): return !flag
        case ("even", _): return try place.integer(value) % 2 == 0
        case ("odd", _): return try place.integer(value) % 2 != 0
        case ("divisibleby", _):
            guard case .integer(let divisor)? = arguments.first, divisor != 0 else {
                throw place.failure("divisibleby: expected a number")
            }
            return try place.integer(value) % divisor == 0
        case ("equalto", _), ("eq", _): return arguments.first.map { value.equals($0) } ?? false
        case ("in", _):
            return try list(arguments.first ?? .none, place).contains { $0.equals(value) }
        default: return false
        }
    }

    // MARK: Methods

    static func method(
        _ name: String, _ value: TemplateValue, _ arguments: [TemplateValue], _ place: TemplatePlace
    ) throws -> TemplateValue {
        if case .dictionary(let members) = value {
            switch name {
            case "items": return .list(members.map { .list([.string($0.key), $0.value]) })
            case "keys": return .list(members.map { .string($0.key) })
            case "get":
                return try arguments.first.flatMap { value.member(try place.text($0)) }
                    ?? (arguments.count > 1 ? arguments[1] : .none)
            default: throw place.failure("an object has no \"\(name)\"")
            }
        }
        guard case .string(let receiver) = value else {
            throw place.failure("\(value.kind) has no \"\(name)\"")
        }
        let texts = try arguments.map { try place.text($0) }
        switch name {
        case "strip", "lstrip", "rstrip":
            return .string(
                trimmed(
                    receiver, texts.first, left: name != "rstrip", right: name != "lstrip"))
        case "startswith": return .bool(texts.contains { receiver.utf8.starts(with: $0.utf8) })
        case "endswith":
            return .bool(texts.contains { receiver.utf8.reversed().starts(with: $0.utf8.reversed()) })
        case "upper": return .string(receiver.uppercased())
        case "lower": return .string(receiver.lowercased())
        case "split":
            guard let separator = texts.first else {
                return .list(
                    receiver.unicodeScalars.split(whereSeparator: \.properties.isWhitespace).map {
                        .string(String($0))
                    })
            }
            return .list(try pieces(of: receiver, between: separator, place).map { .string($0) })
        case "replace":
            guard texts.count >= 2 else { throw place.failure("replace: expected two texts") }
            return .string(try pieces(of: receiver, between: texts[0], place).joined(separator: texts[1]))
        default: throw place.failure("a text has no \"\(name)\"")
        }
    }

    // MARK: Texts

    /// Where a text stands in another, compared by bytes.
    static func range(of needle: String, in text: String) -> Range<Int>? {
        let (pattern, bytes) = (Array(needle.utf8), Array(text.utf8))
        guard pattern.count <= bytes.count else { return nil }
        return (0...bytes.count - pattern.count).first { bytes[$0...].starts(with: pattern) }
            .map { $0..<$0 + pattern.count }
    }

    private static func pieces(of text: String, between separator: String, _ place: TemplatePlace) throws
        -> [String]
    {
        guard !separator.isEmpty else { throw place.failure("expected a text that is not empty") }
        var pieces: [String] = []
        var rest = text
        while let range = range(of: separator, in: rest) {
            let bytes = Array(rest.utf8)
            pieces.append(String(decoding: bytes[..<range.lowerBound], as: UTF8.self))
            rest = String(decoding: bytes[range.upperBound...], as: UTF8.self)
        }
        return pieces + [rest]
    }

    /// A text without white space, or without these characters, at its ends.
    private static func trimmed(_ text: String, _ characters: String? = nil, left: Bool, right: Bool)
        -> String
    {
        let scalars = Array(text.unicodeScalars)
        let removed = characters.map { Set($0.unicodeScalars) }
        func isKept(_ scalar: Unicode.Scalar) -> Bool {
            removed.map { !$0.contains(scalar) } ?? !scalar.properties.isWhitespace
        }
        let start = left ? scalars.firstIndex(where: isKept) ?? scalars.count : 0
        let end = right ? (scalars.lastIndex(where: isKept) ?? -1) + 1 : scalars.count
        return start < end ? String(String.UnicodeScalarView(scalars[start..<end])) : ""
    }

    private static func list(_ value: TemplateValue, _ place: TemplatePlace) throws -> [TemplateValue] {
        switch value {
        case .list(let items): return items
        case .dictionary(let members): return members.map { .string($0.key) }
        case .string(let text): return text.unicodeScalars.map { .string(String($0)) }
        default: throw place.failure("expected a list, found \(value.kind)")
        }
    }
}
