import Support

/// Reads protocol buffers' wire format field by field.
struct ProtobufReader {
    enum Value {
        case integer(UInt64)
        case float(Float)
        case bytes(ArraySlice<UInt8>)
        /// A 64-bit number, which no field read here is.
        case other
    }

    private let bytes: ArraySlice<UInt8>
    private var index: Int
    private let file: String

    init(_ bytes: ArraySlice<UInt8>, file: String) {
        self.bytes = bytes
        self.file = file
        index = bytes.startIndex
    }

    /// The next field with its number; nil at the end of the message.
    mutating func next() throws -> (field: Int, value: Value)? {
        guard index < bytes.endIndex else { return nil }
        let key = try varint()
        guard key >> 3 > 0, key >> 3 < 1 << 29 else { throw damage("a field number") }
        let field = Int(key >> 3)
        switch key & 7 {
        case 0: return (field, .integer(try varint()))
        case 1:
            _ = try take(8)
            return (field, .other)
        case 2:
            let count = try varint()
            guard count <= UInt64(bytes.endIndex - index) else { throw damage("a length within the message") }
            return (field, .bytes(try take(Int(count))))
        case 5:
            let word = try take(4).reversed().reduce(0 as UInt32) { $0 << 8 | UInt32($1) }
            return (field, .float(Float(bitPattern: word)))
        default: throw damage("a wire type of 0, 1, 2 or 5")
        }
    }

    private mutating func varint() throws -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: 0 as UInt64, to: 64, by: 7) {
            guard index < bytes.endIndex else { throw damage("more bytes of a number") }
            let byte = bytes[index]
            index += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return value }
        }
        throw damage("a number of at most 10 bytes")
    }

    private mutating func take(_ count: Int) throws -> ArraySlice<UInt8> {
        guard count <= bytes.endIndex - index else { throw damage("\(count) more bytes") }
        defer { index += count }
        return bytes[index..<index + count]
    }

    private func damage(_ expected: String) -> Failure {
        .configuration("\(file): not valid protocol buffers: expected \(expected) at byte \(index)")
    }
}
