import Support

extension TokenizedDataset {
    /// Names the layout; it changes with it.
    private static let mark = "pac-text-1"

    /// The data set as bytes, for the rank that tokenizes to send to the others. Not a file format.
    public func serialized() -> [UInt8] {
        var writer = content
        writer.write(lossMarks.isEmpty ? 0 : 1)
        return writer.bytes
    }

    /// Everything that the fingerprint covers, in the order of `init(serialized:)`.
    ///
    /// Loss marks stand as 0 and 1 in the place of the type ids. A fingerprint identifies caches, so this may not change.
    var content: ByteWriter {
        var writer = ByteWriter(mark: Self.mark)
        writer.write(inputIDs)
        writer.write(inputOffsets)
        writer.write(lossMarks.isEmpty ? typeIDs : lossMarks.map { $0 ? 1 : 0 })
        switch labels {
        case .none: writer.write(0)
        case .classes(let classes):
            writer.write(1)
            writer.write(classes)
        case .scores(let scores):
            writer.write(2)
            writer.write(scores)
        case .texts(let texts):
            writer.write(3)
            writer.write(texts.count)
            for text in texts { writer.write(text) }
        }
        writer.write(targetIDs)
        writer.write(targetOffsets)
        writer.write(truncatedCount)
        return writer
    }

    /// Reads what `serialized` wrote. Throws when the bytes are damaged or cut.
    public init(serialized bytes: [UInt8]) throws {
        var reader = try ByteReader(bytes, "a tokenized data set", mark: Self.mark)
        let inputIDs = try reader.list(of: Int32.self)
        let inputOffsets = try reader.offsets(of: inputIDs.count)
        let typeIDsOrMarks = try reader.list(of: Int32.self)
        let labels = try reader.labels()
        let targetIDs = try reader.list(of: Int32.self)
        let targetOffsets = try reader.offsets(of: targetIDs.count)
        let truncatedCount = try reader.integer()
        let hasMarks = try reader.integer() == 1
        let count = inputOffsets.count - 1
        guard reader.isAtEnd, typeIDsOrMarks.count == inputIDs.count, labels.count ?? count == count,
            targetOffsets.count == 1 || targetOffsets.count == count + 1
        else { throw reader.damage }
        self.init(
            inputIDs: inputIDs, inputOffsets: inputOffsets,
            typeIDs: hasMarks ? typeIDsOrMarks.map { _ in 0 } : typeIDsOrMarks,
            lossMarks: hasMarks ? typeIDsOrMarks.map { $0 == 1 } : [], labels: labels,
            targetIDs: targetIDs, targetOffsets: targetOffsets, truncatedCount: truncatedCount)
    }
}

extension ByteReader {
    /// Offsets that rise from 0 to the number of elements they part.
    fileprivate mutating func offsets(of elementCount: Int) throws -> [Int] {
        let offsets = try list(of: Int.self)
        guard offsets.first == 0, offsets.last == elementCount,
            zip(offsets, offsets.dropFirst()).allSatisfy(<=)
        else { throw damage }
        return offsets
    }

    fileprivate mutating func labels() throws -> TokenizedDataset.Labels {
        switch try integer(Int.self) {
        case 0: return .none
        case 1: return .classes(try list())
        case 2: return .scores(try floats())
        case 3: return .texts(try (0..<count()).map { _ in try text() })
        default: throw damage
        }
    }
}
