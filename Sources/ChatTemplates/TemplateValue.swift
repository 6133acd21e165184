import Support

/// A value of a template's language.
indirect enum TemplateValue {
    /// A name that nothing was bound to: false, printed as nothing, and of no other use.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case string(String)
    case list([TemplateValue])
    /// In the order of insertion.
    case dictionary([(key: String, value: TemplateValue)])
    /// `namespace(...)`: the one thing that a loop's body can change for what comes after.
    case namespace(TemplateNamespace)

    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .string(let text): !text.isEmpty
        case .list(let items): !items.isEmpty
        case .dictionary(let members): !members.isEmpty
        case .namespace: true
        }
    }

    /// What the value is called in an error.
    var kind: String {
        switch self {
        case .undefined(let name): "the undefined \"\(name)\""
        case .none: "none"
        case .bool: "a boolean"
        case .integer: "a number"
        case .string: "a text"
        case .list: "a list"
        case .dictionary: "an object"
        case .namespace: "a namespace"
        }
    }

    /// The text that printing gives; nil for what has none worth printing.
    var printed: String? {
        switch self {
        case .undefined: ""
        case .none: "None"
        case .bool(let value): value ? "True" : "False"
        case .integer(let value): String(value)
        case .string(let text): text
        case .list, .dictionary, .namespace: nil
        }
    }

    /// Equality as Python has it; texts by their bytes.
    func equals(_ other: TemplateValue) -> Bool {
        switch (self, other) {
        case (.undefined, .undefined), (.none, .none): true
        case (.bool(let a), .bool(let b)): a == b
        case (.integer(let a), .integer(let b)): a == b
        case (.bool(let a), .integer(let b)), (.integer(let b), .bool(let a)): (a ? 1 : 0) == b
        case (.string(let a), .string(let b)): a.utf8.elementsEqual(b.utf8)
        case (.list(let a), .list(let b)): a.count == b.count && zip(a, b).allSatisfy { $0.equals($1) }
        case (.dictionary(let a), .dictionary(let b)):
            a.count == b.count
                && a.allSatisfy { member in
                    b.contains { $0.key == member.key && $0.value.equals(member.value) }
                }
        default: false
        }
    }

    /// A member of an object or a namespace; nil when it has none of this name.
    func member(_ name: String) -> TemplateValue? {
        switch self {
        case .dictionary(let members): members.first { $0.key.utf8.elementsEqual(name.utf8) }?.value
        case .namespace(let space): space.values[name]
        default: nil
        }
    }

    /// JSON as Python's `json.dumps` writes it, non-ASCII characters as they are; nil for what JSON does not have.
    var json: String? {
        switch self {
        case .none: return "null"
        case .bool(let value): return value ? "true" : "false"
        case .integer(let value): return String(value)
        case .string(let text): return JSONValue.string(text).text()
        case .list(let items):
            let parts = items.compactMap(\.json)
            return parts.count == items.count ? "[" + parts.joined(separator: ", ") + "]" : nil
        case .dictionary(let members):
            let parts = members.compactMap { member in
                member.value.json.map { JSONValue.string(member.key).text() + ": " + $0 }
            }
            return parts.count == members.count ? "{" + parts.joined(separator: ", ") + "}" : nil
        case .undefined, .namespace: return nil
        }
    }
}

/// The values of a `namespace(...)`.
final class TemplateNamespace {
    var values: [String: TemplateValue]

    init(_ values: [String: TemplateValue]) { self.values = values }
}

extension TemplatePlace {
    /// The text that a value has to be.
    func text(_ value: TemplateValue) throws -> String {
        guard let text = value.printed else { throw failure("expected a text, found \(value.kind)") }
        return text
    }

    /// The number that a value has to be.
    func integer(_ value: TemplateValue) throws -> Int {
        guard case .integer(let number) = value else {
            throw failure("expected a number, found \(value.kind)")
        }
        return number
    }
}
