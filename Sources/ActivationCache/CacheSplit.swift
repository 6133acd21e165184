import CKernels
import Configuration
import HDF5
import Models
import Support
import TextData

/// The datasets of one split in a cache file: what is there, row by row, and how to add to it.
///
/// All calls but the look-ups run on the I/O thread.
package final class CacheSplit {
    private let place: String
    private let shape: CacheShape
    private let precision: CachePrecision
    private let stacks: [Stack]
    private let sampleIDs: H5Dataset
    private let checksums: H5Dataset
    private let tokenIDs: H5Dataset
    private let labels: H5Dataset?
    private let targetIDs: H5Dataset?
    private let targetOffsets: H5Dataset?
    /// Row of each sample.
    private var rows: [Int: Int] = [:]
    private var crcs: [UInt32] = []
    /// [samples + 1] for each stack: where a sample's tokens begin and end.
    private var ends: [[Int]]
    private var targetEnd = 0

    private struct Stack {
        let layers: CacheShape.StackLayers
        let activations: H5Dataset
        let offsets: H5Dataset
    }

    /// What is written of one sample besides its activations.
    package struct SampleRow: Sendable {
        package let id: Int
        /// Tokens in each of the shape's stacks.
        let tokenCounts: [Int]
        package let tokenIDs: [Int32]
        package let label: Float?
        package let targetIDs: [Int32]?
    }

    /// The samples that are there.
    package var samples: Dictionary<Int, Int>.Keys { rows.keys }

    /// Whether a sample is there.
    package func contains(_ sample: Int) -> Bool { rows[sample] != nil }

    // MARK: Writing

    /// Makes the datasets.
    ///
    /// - Parameter example: a sample that is going to be added: whether it has a label and targets, all have.
    init(
        creating split: Split, in file: H5File, _ shape: CacheShape, _ precision: CachePrecision,
        example: SampleRow
    ) throws {
        let root = "/" + split.rawValue
        place = "\(file.path): \(root)"
        self.shape = shape
        self.precision = precision
        stacks = try shape.stacks.map { layers in
            let name = root + "/" + layers.stack.rawValue
            let activations = try file.createDataset(
                name + "/activations", type: precision.elementType,
                rowShape: [layers.layers.count, shape.hiddenSize])
            try file.setAttribute(
                "first_layer", to: .integer(Int64(layers.layers.lowerBound)), of: name + "/activations")
            if precision == .bfloat16 {
                try file.setAttribute("bfloat16", to: .bool(true), of: name + "/activations")
            }
            let offsets = try file.createDataset(name + "/offsets", type: .int64)
            try offsets.append([Int64(0)])
            return Stack(layers: layers, activations: activations, offsets: offsets)
        }
        ends = stacks.map { _ in [0] }
        targetOffsets =
            example.targetIDs == nil ? nil : try file.createDataset(root + "/target_offsets", type: .int64)
        try targetOffsets?.append([Int64(0)])
        targetIDs =
            example.targetIDs == nil ? nil : try file.createDataset(root + "/target_ids", type: .int32)
        sampleIDs = try file.createDataset(root + "/sample_ids", type: .int64)
        checksums = try file.createDataset(root + "/crc32c", type: .uint32)
        tokenIDs = try file.createDataset(root + "/token_ids", type: .int32)
        labels = example.label == nil ? nil : try file.createDataset(root + "/labels", type: .float32)
    }

    /// Adds samples.
    ///
    /// - Parameter activations: for each stack of the shape, the packed rows of all these samples, [tokens, layers, hidden].
    /// - Returns: how many bytes of activations were written.
    package func append(_ samples: [SampleRow], _ activations: [StoredNumbers]) throws -> Int {
        var starts = [Int](repeating: 0, count: stacks.count)
        var checksums: [UInt32] = []
        for sample in samples {
            var crc: UInt32 = 0
            for index in stacks.indices {
                let count = sample.tokenCounts[index] * rowBytes(index)
                crc = activations[index].withUnsafeBytes {
                    ck_crc32c(crc, $0.baseAddress.map { $0 + starts[index] }, count)
                }
                starts[index] += count
                ends[index].append(ends[index].last! + sample.tokenCounts[index])
            }
            rows[sample.id] = crcs.count
            crcs.append(crc)
            checksums.append(crc)
        }
        // Activations first: a sample counts as there when its id is.
        for (index, stack) in stacks.enumerated() {
            try activations[index].withUnsafeBytes { try stack.activations.append($0) }
            try stack.offsets.append(ends[index].suffix(samples.count).map(Int64.init))
        }
        try tokenIDs.append(samples.flatMap(\.tokenIDs))
        try labels?.append(samples.map { $0.label ?? .nan })
        if let targetIDs {
            try targetIDs.append(samples.flatMap { $0.targetIDs ?? [] })
            for sample in samples {
                targetEnd += sample.targetIDs?.count ?? 0
                try targetOffsets!.append([Int64(targetEnd)])
            }
        }
        try self.checksums.append(checksums)
        try sampleIDs.append(samples.map { Int64($0.id) })
        return starts.reduce(0, +)
    }

    // MARK: Reading

    /// Opens what is there. A writer that was killed may have left the end of some datasets behind that of others: the
    /// samples that all of them have count.
    init(opening split: Split, in file: H5File, _ shape: CacheShape, _ precision: CachePrecision) throws {
        let root = "/" + split.rawValue
        place = "\(file.path): \(root)"
        self.shape = shape
        self.precision = precision
        stacks = try shape.stacks.map { layers in
            let name = root + "/" + layers.stack.rawValue
            return Stack(
                layers: layers,
                activations: try file.openDataset(name + "/activations", type: precision.elementType),
                offsets: try file.openDataset(name + "/offsets", type: .int64))
        }
        sampleIDs = try file.openDataset(root + "/sample_ids", type: .int64)
        checksums = try file.openDataset(root + "/crc32c", type: .uint32)
        tokenIDs = try file.openDataset(root + "/token_ids", type: .int32)
        (labels, targetIDs, targetOffsets) = (nil, nil, nil)
        ends = try stacks.map { try $0.offsets.read(Int64.self).map(Int.init) }
        var count = min(sampleIDs.rowCount, checksums.rowCount)
        for (index, stack) in stacks.enumerated() {
            let rows = stack.activations.rowCount
            count = min(count, ends[index].prefix { (0...rows).contains($0) }.count - 1)
        }
        count = max(0, count)
        crcs = Array(try checksums.read(UInt32.self).prefix(count))
        for (row, id) in try sampleIDs.read(Int64.self).prefix(count).enumerated() {
            guard ends.allSatisfy({ $0[row] <= $0[row + 1] }) else { continue }
            rows[Int(id)] = row
        }
    }

    /// The stacks and layers of a split that a file holds; nil when it has none.
    package static func shape(of split: Split, in file: H5File) throws -> CacheShape? {
        let root = "/" + split.rawValue
        var stacks: [CacheShape.StackLayers] = []
        var hiddenSize = 0
        // Datasets that were not yet made when their writer was killed: then none of its samples is complete.
        guard try file.contains(root + "/sample_ids"), try file.contains(root + "/crc32c"),
            try file.contains(root + "/token_ids")
        else { return nil }
        for stack in StackKind.allCases {
            let name = root + "/" + stack.rawValue
            guard try file.contains(name + "/activations") else { continue }
            guard try file.contains(name + "/offsets"),
                case .integer(let first)? = try file.attribute("first_layer", of: name + "/activations")
            else { return nil }
            let row = try file.openDataset(name + "/activations").rowShape
            guard row.count == 2, first >= 0 else {
                throw Failure.configuration(
                    "\(file.path): \(name)/activations: expected rows of layers and channels, found \(row)")
            }
            stacks.append(.init(stack: stack, layers: Int(first)..<Int(first) + row[0]))
            hiddenSize = row[1]
        }
        return stacks.isEmpty ? nil : CacheShape(stacks: stacks, hiddenSize: hiddenSize)
    }

    /// Tokens of a sample in each of the shape's stacks; nil when it is not there.
    func tokenCounts(_ sample: Int) -> [Int]? {
        rows[sample].map { row in ends.map { $0[row + 1] - $0[row] } }
    }

    /// Forgets a sample, so that it counts as missing.
    func forget(_ sample: Int) { rows[sample] = nil }

    /// Reads a sample's rows of every stack as they are stored and checks their checksum.
    ///
    /// - Parameter places: for each stack of the shape, room for [tokens, layers, hidden] in the file's precision.
    package func read(_ sample: Int, into places: [UnsafeMutableRawPointer]) throws {
        guard let row = rows[sample] else {
            throw Failure.run("\(place): sample \(sample) is not in the cache")
        }
        var crc: UInt32 = 0
        for (index, stack) in stacks.enumerated() {
            let range = ends[index][row]..<ends[index][row + 1]
            let bytes = UnsafeMutableRawBufferPointer(
                start: places[index], count: range.count * rowBytes(index))
            try stack.activations.read(rows: range, into: bytes)
            crc = ck_crc32c(crc, bytes.baseAddress, bytes.count)
        }
        guard crc == crcs[row] else {
            throw Failure.run(
                "\(place): sample \(sample): expected checksum \(crcs[row]), found \(crc): the file is damaged"
            )
        }
    }

    /// Bytes of one token row of a stack.
    func rowBytes(_ index: Int) -> Int { shape.rowCount(stacks[index].layers) * precision.byteCount }
}
