/// Reads JSON text (RFC 8259), strictly: bad UTF-8, duplicate keys and trailing text are errors that name the line.
struct JSONParser {
    private let bytes: UnsafeBufferPointer<UInt8>
    private let file: String
    private var position = 0
    private var line: Int

    /// - Parameter firstLine: the line of the first byte in the file, for a row of a JSONL file.
    static func parse(_ bytes: UnsafeBufferPointer<UInt8>, file: String, firstLine: Int = 1) throws
        -> JSONValue
    {
        var parser = JSONParser(bytes: bytes, file: file, line: firstLine)
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { parser.position = 3 }
        parser.skipSpace()
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        if parser.position < bytes.count { throw parser.error("expected the end of the text") }
        return value
    }

    private init(bytes: UnsafeBufferPointer<UInt8>, file: String, line: Int) {
        self.bytes = bytes
        self.file = file
        self.line = line
    }

    private func error(_ what: String) -> Failure {
        let found =
            position < bytes.count
            ? "found \"\(String(decoding: bytes[position..<min(position + 1, bytes.count)], as: UTF8.self))\""
            : "found the end of the text"
        return .configuration("\(file):\(line): not valid JSON: \(what), \(found)")
    }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x0A: line += 1
            case 0x20, 0x09, 0x0D: break
            default: return
            }
            position += 1
        }
    }

    private mutating func value(depth: Int) throws -> JSONValue {
        guard depth < 256 else { throw error("at most 256 nested arrays and objects") }
        guard position < bytes.count else { throw error("expected a value") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: return try number()
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws -> JSONValue {
        let count = text.utf8CodeUnitCount
        for i in 0..<count {
            guard position + i < bytes.count, bytes[position + i] == text.utf8Start[i] else {
                throw error("expected a value")
            }
        }
        position += count
        return value
    }

    private mutating func object(depth: Int) throws -> JSONValue {
        position += 1
        var members: [JSONMember] = []
        var small = true
        var seen: Set<[UInt8]> = []
        skipSpace()
        if position < bytes.count, bytes[position] == UInt8(ascii: "}") {
            position += 1
            return .object([])
        }
        while true {
            guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
                throw error("expected a key in quotes")
            }
            let keyLine = line
            let key = try string()
            // Linear search while an object is small; a vocabulary of 150,000 keys needs the set.
            if small, members.count >= 16 {
                small = false
                seen = Set(members.map { Array($0.key.utf8) })
            }
            let duplicate =
                small
                ? members.contains { $0.key.utf8.elementsEqual(key.utf8) }
                : !seen.insert(Array(key.utf8)).inserted
            if duplicate {
                throw Failure.configuration("\(file):\(keyLine): the key \"\(key)\" stands twice")
            }
            skipSpace()
            guard position < bytes.count, bytes[position] == UInt8(ascii: ":") else {
                throw error("expected \":\" after the key \"\(key)\"")
            }
            position += 1
            skipSpace()
            members.append(JSONMember(key: key, value: try value(depth: depth + 1), line: keyLine))
            skipSpace()
            guard position < bytes.count else { throw error("expected \",\" or \"}\"") }
            let next = bytes[position]
            guard next == UInt8(ascii: ",") || next == UInt8(ascii: "}") else {
                throw error("expected \",\" or \"}\"")
            }
            position += 1
            if next == UInt8(ascii: "}") { return .object(members) }
            skipSpace()
        }
    }

    private mutating func array(depth: Int) throws -> JSONValue {
        position += 1
        var items: [JSONValue] = []
        skipSpace()
        if position < bytes.count, bytes[position] == UInt8(ascii: "]") {
            position += 1
            return .array([])
        }
        while true {
            items.append(try value(depth: depth + 1))
            skipSpace()
            guard position < bytes.count else { throw error("expected \",\" or \"]\"") }
            let next = bytes[position]
            guard next == UInt8(ascii: ",") || next == UInt8(ascii: "]") else {
                throw error("expected \",\" or \"]\"")
            }
            position += 1
            if next == UInt8(ascii: "]") { return .array(items) }
            skipSpace()
        }
    }

    private mutating func number() throws -> JSONValue {
        let start = position
        var isInteger = true
        loop: while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): break
            case UInt8(ascii: "-"): if position != start { isInteger = false }
            case UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): isInteger = false
            default: break loop
            }
            position += 1
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        let digits = text.first == "-" ? text.dropFirst() : text[...]
        let leadingZero =
            digits.count > 1 && digits.first == "0" && digits.dropFirst().first?.isNumber == true
        if !leadingZero, digits.first?.isNumber == true, digits.last?.isNumber == true {
            if isInteger, let integer = Int64(text) { return .integer(integer) }
            if let number = Double(text), number.isFinite { return .number(number) }
        }
        position = start
        throw error("expected a value")
    }

    private mutating func string() throws -> String {
        position += 1
        let start = position
        // The common case: no escape, taken in one piece.
        while position < bytes.count {
            let byte = bytes[position]
            if byte == UInt8(ascii: "\"") {
                let text = try utf8(bytes[start..<position])
                position += 1
                return text
            }
            if byte == UInt8(ascii: "\\") { break }
            if byte < 0x20 { throw error("expected no control character in a string") }
            position += 1
        }
        var buffer = Array(bytes[start..<position])
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return try buffer.withUnsafeBufferPointer { try utf8($0[...]) }
            case UInt8(ascii: "\\"): try escape(into: &buffer)
            case 0..<0x20:
                position -= 1
                throw error("expected no control character in a string")
            default: buffer.append(byte)
            }
        }
        throw error("expected a closing quote")
    }

    private func utf8(_ slice: Slice<UnsafeBufferPointer<UInt8>>) throws -> String {
        guard let text = String(validating: slice, as: UTF8.self) else {
            throw Failure.configuration(
                "\(file):\(line): expected UTF-8 text, found bytes that are not UTF-8")
        }
        return text
    }

    private mutating func escape(into buffer: inout [UInt8]) throws {
        guard position < bytes.count else { throw error("expected an escape") }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): buffer.append(byte)
        case UInt8(ascii: "b"): buffer.append(0x08)
        case UInt8(ascii: "f"): buffer.append(0x0C)
        case UInt8(ascii: "n"): buffer.append(0x0A)
        case UInt8(ascii: "r"): buffer.append(0x0D)
        case UInt8(ascii: "t"): buffer.append(0x09)
        case UInt8(ascii: "u"):
            var scalar = try hexadecimal()
            if 0xD800..<0xDC00 ~= scalar {
                if position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
                    bytes[position + 1] == UInt8(ascii: "u")
                {
                    position += 2
                    let low = try hexadecimal()
                    guard 0xDC00..<0xE000 ~= low else { throw error("expected a low surrogate") }
                    scalar = 0x10000 + ((scalar - 0xD800) << 10) + (low - 0xDC00)
                } else {
                    throw error("expected a surrogate pair")
                }
            }
            guard let unicode = Unicode.Scalar(scalar) else { throw error("expected a Unicode scalar") }
            buffer.append(contentsOf: Array(String(Character(unicode)).utf8))
        default:
            position -= 1
            throw error("expected an escape")
        }
    }

    private mutating func hexadecimal() throws -> UInt32 {
        guard position + 4 <= bytes.count,
            let value = UInt32(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
        else { throw error("expected four hexadecimal digits") }
        position += 4
        return value
    }
}

extension JSONValue {
    /// Parses JSON text. `file` only names the source in errors.
    public init(parsing text: [UInt8], file: String, firstLine: Int = 1) throws {
        self = try text.withUnsafeBufferPointer {
            try JSONParser.parse($0, file: file, firstLine: firstLine)
        }
    }

    /// Reads and parses a file. Throws when it is missing, unreadable or not JSON.
    public init(contentsOf path: String) throws {
        try self.init(parsing: try readFile(path), file: path)
    }
}
