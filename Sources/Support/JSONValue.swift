/// A JSON document that remembers the order of keys and the lines they stand on.
///
/// Foundation's parsers key objects by `String`, whose equality is canonical equivalence: two vocabulary entries that
/// differ only in normalisation would become one. Keys here are compared byte by byte.
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    /// A number written without fraction or exponent that fits 64 bits.
    case integer(Int64)
    case string(String)
    case array([JSONValue])
    case object([JSONMember])

    /// The value of an object's key, compared byte by byte; nil when absent or when this is no object.
    public subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
    }

    public var string: String? { if case .string(let text) = self { text } else { nil } }
    public var array: [JSONValue]? { if case .array(let items) = self { items } else { nil } }
    public var members: [JSONMember]? { if case .object(let members) = self { members } else { nil } }
    public var bool: Bool? { if case .bool(let flag) = self { flag } else { nil } }
    public var integer: Int? { if case .integer(let number) = self { Int(number) } else { nil } }
    public var number: Double? {
        switch self {
        case .number(let number): number
        case .integer(let number): Double(number)
        default: nil
        }
    }

    /// What the value is, for error messages: "a number", "a string".
    public var kindDescription: String {
        switch self {
        case .null: "null"
        case .bool(let flag): flag ? "true" : "false"
        case .number(let number): "the number \(number)"
        case .integer(let number): "the number \(number)"
        case .string(let text): "the string \"\(text.prefix(60))\""
        case .array: "an array"
        case .object: "an object"
        }
    }

    /// An object from pairs, for writing.
    public static func dictionary(_ pairs: [(String, JSONValue)]) -> JSONValue {
        .object(pairs.map { JSONMember(key: $0.0, value: $0.1, line: 0) })
    }
}

/// One key of an object with its value and the 1-based line the key stands on (0 when not read from a file).
public struct JSONMember: Sendable, Equatable {
    public let key: String
    public var value: JSONValue
    public let line: Int

    public init(key: String, value: JSONValue, line: Int) {
        self.key = key
        self.value = value
        self.line = line
    }

    public static func == (a: JSONMember, b: JSONMember) -> Bool {
        a.key.utf8.elementsEqual(b.key.utf8) && a.value == b.value
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByNilLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    public init(nilLiteral: ()) { self = .null }
    public init(_ value: Int) { self = .integer(Int64(value)) }
    public init(_ value: Double) { self = .number(value) }
    public init(_ value: String) { self = .string(value) }
}
