/// Bytes of a message between ranks of one build, or of what is hashed. Little-endian; a list stands behind its count.
///
/// `ByteReader` reads them in the same order.
package struct ByteWriter {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    /// Begins with a mark that names the layout.
    package init(mark: String) { bytes = Array(mark.utf8) }

    package mutating func write<Number: FixedWidthInteger>(_ number: Number) {
        withUnsafeBytes(of: number.littleEndian) { bytes.append(contentsOf: $0) }
    }

    package mutating func write(_ number: Double) { write(number.bitPattern) }

    package mutating func write<Number: FixedWidthInteger>(_ list: [Number]) {
        write(list.count)
        list.map(\.littleEndian).withUnsafeBytes { bytes.append(contentsOf: $0) }
    }

    package mutating func write(_ list: [Float]) { write(list.map(\.bitPattern)) }

    package mutating func write(_ text: String) { write(Array(text.utf8)) }
}

/// Reads what a `ByteWriter` wrote. Bytes that are cut, or a count that they cannot hold, are a failure.
package struct ByteReader {
    private let bytes: [UInt8]
    private var position = 0
    /// What is thrown where the bytes cannot be what was written.
    package let damage: Failure

    /// - Parameter name: what the bytes hold, as the failure's message begins with it: "a tokenized data set".
    package init(_ bytes: [UInt8], _ name: String) {
        self.bytes = bytes
        damage = .run("\(name) arrived damaged: expected what the sending rank wrote")
    }

    /// Begins behind a mark. Throws when another one stands there.
    package init(_ bytes: [UInt8], _ name: String, mark: String) throws {
        self.init(bytes, name)
        guard bytes.starts(with: mark.utf8) else { throw damage }
        position = mark.utf8.count
    }

    package var isAtEnd: Bool { position == bytes.count }

    /// Throws when bytes are left.
    package func requireEnd() throws {
        guard isAtEnd else { throw damage }
    }

    package mutating func integer<Number: FixedWidthInteger>(_ type: Number.Type = Int.self) throws -> Number
    {
        try numbers(1)[0]
    }

    package mutating func double() throws -> Double { Double(bitPattern: try integer(UInt64.self)) }

    package mutating func list<Number: FixedWidthInteger>(of type: Number.Type = Number.self) throws
        -> [Number]
    {
        try numbers(try integer())
    }

    package mutating func floats() throws -> [Float] {
        try list(of: UInt32.self).map { Float(bitPattern: $0) }
    }

    package mutating func text() throws -> String {
        String(decoding: try list(of: UInt8.self), as: UTF8.self)
    }

    /// A count of what follows, each of which takes a byte at least.
    package mutating func count() throws -> Int {
        let count = try integer(Int.self)
        guard 0...(bytes.count - position) ~= count else { throw damage }
        return count
    }

    private mutating func numbers<Number: FixedWidthInteger>(_ count: Int) throws -> [Number] {
        let size = MemoryLayout<Number>.size
        guard count >= 0, count <= (bytes.count - position) / size else { throw damage }
        let range = position..<position + count * size
        position = range.upperBound
        let stored = [Number](unsafeUninitializedCapacity: count) { buffer, initializedCount in
            bytes.withUnsafeBytes {
                UnsafeMutableRawBufferPointer(buffer).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: $0[range]))
            }
            initializedCount = count
        }
        return stored.map { Number(littleEndian: $0) }
    }
}
