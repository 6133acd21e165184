import Support

extension TokenizedDataset {
    /// The data set as bytes, for the rank that tokenizes to send to the others. Little-endian; not a file format.
    public func serialized() -> [UInt8] {
        var writer = DatasetWriter()
        writer.write(inputIDs, inputOffsets, typeIDs, labels, targetIDs, targetOffsets, truncatedCount)
        return writer.bytes
    }

    /// Reads what `serialized` wrote. Throws when the bytes are damaged or cut.
    public init(serialized bytes: [UInt8]) throws {
        var reader = try DatasetReader(bytes)
        let inputIDs: [Int32] = try reader.array()
        let inputOffsets = try reader.offsets(of: inputIDs.count)
        let typeIDs: [Int32] = try reader.array()
        let labels = try reader.labels()
        let targetIDs: [Int32] = try reader.array()
        let targetOffsets = try reader.offsets(of: targetIDs.count)
        let truncatedCount = try reader.integer()
        let count = inputOffsets.count - 1
        guard reader.isAtEnd, typeIDs.count == inputIDs.count, labels.count ?? count == count,
            targetOffsets.count == 1 || targetOffsets.count == count + 1
        else { throw DatasetReader.damage }
        self.init(
            inputIDs: inputIDs, inputOffsets: inputOffsets, typeIDs: typeIDs, labels: labels,
            targetIDs: targetIDs,
            targetOffsets: targetOffsets, truncatedCount: truncatedCount)
    }
}

/// Every array as its count and its elements, in the order of `TokenizedDataset.init(serialized:)`.
struct DatasetWriter {
    /// Names the layout; it changes with it.
    static let magic = Array("pac-text-1".utf8)
    private(set) var bytes = magic

    mutating func write(
        _ inputIDs: [Int32], _ inputOffsets: [Int], _ typeIDs: [Int32], _ labels: TokenizedDataset.Labels,
        _ targetIDs: [Int32], _ targetOffsets: [Int], _ truncatedCount: Int
    ) {
        write(inputIDs)
        write(inputOffsets)
        write(typeIDs)
        switch labels {
        case .none: write(0)
        case .classes(let classes):
            write(1)
            write(classes)
        case .scores(let scores):
            write(2)
            write(scores.map(\.bitPattern))
        case .texts(let texts):
            write(3)
            write(texts.count)
            for text in texts { write(Array(text.utf8)) }
        }
        write(targetIDs)
        write(targetOffsets)
        write(truncatedCount)
    }

    private mutating func write(_ number: Int) {
        withUnsafeBytes(of: Int64(number).littleEndian) { bytes.append(contentsOf: $0) }
    }

    private mutating func write<T: FixedWidthInteger>(_ array: [T]) {
        write(array.count)
        bytes.reserveCapacity(bytes.count + array.count * MemoryLayout<T>.size)
        for element in array { withUnsafeBytes(of: element.littleEndian) { bytes.append(contentsOf: $0) } }
    }
}

struct DatasetReader {
    static let damage = Failure.run(
        "a tokenized data set arrived damaged: expected what the sending rank wrote")
    private let bytes: [UInt8]
    private var position = DatasetWriter.magic.count

    init(_ bytes: [UInt8]) throws {
        guard bytes.starts(with: DatasetWriter.magic) else { throw Self.damage }
        self.bytes = bytes
    }

    var isAtEnd: Bool { position == bytes.count }

    mutating func integer() throws -> Int {
        guard bytes.count - position >= 8 else { throw Self.damage }
        defer { position += 8 }
        return Int(
            Int64(
                littleEndian: bytes.withUnsafeBytes {
                    $0.loadUnaligned(fromByteOffset: position, as: Int64.self)
                }))
    }

    mutating func array<T: FixedWidthInteger>() throws -> [T] {
        let count = try integer()
        let size = MemoryLayout<T>.size
        guard count >= 0, count <= (bytes.count - position) / size else { throw Self.damage }
        defer { position += count * size }
        return bytes.withUnsafeBytes { raw in
            (0..<count).map {
                T(littleEndian: raw.loadUnaligned(fromByteOffset: position + $0 * size, as: T.self))
            }
        }
    }

    /// Offsets that rise from 0 to the number of elements they part.
    mutating func offsets(of elementCount: Int) throws -> [Int] {
        let offsets: [Int] = try array()
        guard offsets.first == 0, offsets.last == elementCount,
            zip(offsets, offsets.dropFirst()).allSatisfy(<=)
        else {
            throw Self.damage
        }
        return offsets
    }

    mutating func labels() throws -> TokenizedDataset.Labels {
        switch try integer() {
        case 0: return .none
        case 1: return .classes(try array())
        case 2:
            let patterns: [UInt32] = try array()
            return .scores(patterns.map { Float(bitPattern: $0) })
        case 3:
            let count = try integer()
            guard count >= 0, count <= bytes.count - position else { throw Self.damage }
            return .texts(
                try (0..<count).map { _ in
                    let text: [UInt8] = try array()
                    return String(decoding: text, as: UTF8.self)
                })
        default: throw Self.damage
        }
    }
}
