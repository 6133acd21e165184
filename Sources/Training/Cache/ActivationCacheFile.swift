import CKernels
import HDF5
import Models
import Support
import TextData

/// One rank's activation cache: an HDF5 file in the layout of the README's "Cache files".
///
/// `/train` and `/validation` hold, for each stack, `activations` [tokens, layers, hidden] of true lengths and
/// `offsets`; beside them `sample_ids`, `crc32c`, labels and token ids. The file is written as `….part`, flushed as it
/// grows, and renamed when complete.
///
/// All calls but the look-ups run on the I/O thread.
final class ActivationCacheFile: @unchecked Sendable {
    let path: String
    let shape: CacheShape
    private let file: H5File
    private var temporaryPath: String
    private var splits: [Split: SplitFile] = [:]
    private var unflushedBytes = 0

    /// Bytes after which what was written is flushed.
    private static let flushInterval = 8 << 20

    /// The growing datasets of one split.
    private struct SplitFile {
        var sampleIDs: H5Dataset
        var checksums: H5Dataset
        var stacks: [(layers: CacheShape.StackLayers, activations: H5Dataset, offsets: H5Dataset)]
        var tokenIDs: H5Dataset
        var labels: H5Dataset?
        var targetIDs: H5Dataset?
        var targetOffsets: H5Dataset?
        /// Row of each sample, in memory.
        var rows: [Int: Int] = [:]
        var crcs: [UInt32] = []
        var ends: [[Int]]
        var targetEnd = 0
    }

    /// Creates `path` with the suffix `.part`.
    static func create(
        _ path: String, shape: CacheShape, identity: CacheIdentity, rank: Int, worldSize: Int
    ) throws -> ActivationCacheFile {
        let part = path + ".part"
        let file = try H5File.create(part, replacing: true)
        let attributes: [(String, H5Attribute)] = [
            ("format_version", .integer(1)), ("model_hash", .string(identity.modelHash)),
            ("tokenizer_hash", .string(identity.tokenizerHash)), ("data_hash", .string(identity.dataHash)),
            ("family", .string(identity.family)),
            ("layers", .integer(Int64(shape.stacks.reduce(0) { $0 + $1.layers.count }))),
            ("precision", .string("float32")),
            ("max_sequence_length", .integer(Int64(identity.maximumSequenceLength))),
            ("rank", .integer(Int64(rank))), ("world_size", .integer(Int64(worldSize))),
            ("complete", .bool(false)),
        ]
        for (name, value) in attributes { try file.setAttribute(name, to: value) }
        try file.flush()
        return ActivationCacheFile(path, part, file, shape)
    }

    private init(_ path: String, _ temporaryPath: String, _ file: H5File, _ shape: CacheShape) {
        self.path = path
        self.temporaryPath = temporaryPath
        self.file = file
        self.shape = shape
    }

    // MARK: Writing

    /// What is written of one sample besides its activations.
    struct SampleRow: Sendable {
        let id: Int
        /// Tokens in each of the shape's stacks.
        let tokenCounts: [Int]
        let tokenIDs: [Int32]
        let label: Float?
        let targetIDs: [Int32]?
    }

    /// Appends samples.
    ///
    /// - Parameter activations: for each stack of the shape, the packed rows of all these samples,
    ///   [tokens, layers, hidden].
    func append(_ split: Split, _ samples: [SampleRow], _ activations: [[Float]]) throws {
        guard !samples.isEmpty else { return }
        var group = try splits[split] ?? makeSplit(split, samples[0])
        var starts = [Int](repeating: 0, count: shape.stacks.count)
        var checksums: [UInt32] = []
        for sample in samples {
            var crc: UInt32 = 0
            for (index, stack) in shape.stacks.enumerated() {
                let count = sample.tokenCounts[index] * shape.rowCount(stack)
                crc = activations[index].withUnsafeBytes {
                    ck_crc32c(crc, $0.baseAddress.map { $0 + starts[index] * 4 }, count * 4)
                }
                starts[index] += count
                group.ends[index].append(group.ends[index].last! + sample.tokenCounts[index])
            }
            group.rows[sample.id] = group.crcs.count
            group.crcs.append(crc)
            checksums.append(crc)
        }
        // Activations first: a sample counts as there when its id is.
        for (index, stack) in group.stacks.enumerated() {
            try stack.activations.append(activations[index])
            try stack.offsets.append(group.ends[index].suffix(samples.count).map(Int64.init))
            unflushedBytes += activations[index].count * 4
        }
        try group.tokenIDs.append(samples.flatMap(\.tokenIDs))
        try group.labels?.append(samples.map { $0.label ?? .nan })
        if let targets = group.targetIDs {
            try targets.append(samples.flatMap { $0.targetIDs ?? [] })
            for sample in samples {
                group.targetEnd += sample.targetIDs?.count ?? 0
                try group.targetOffsets!.append([Int64(group.targetEnd)])
            }
        }
        try group.checksums.append(checksums)
        try group.sampleIDs.append(samples.map { Int64($0.id) })
        splits[split] = group
        if unflushedBytes >= Self.flushInterval {
            try flush()
        }
    }

    private func makeSplit(_ split: Split, _ sample: SampleRow) throws -> SplitFile {
        let root = "/" + split.rawValue
        let stacks = try shape.stacks.map { stack in
            let place = root + "/" + stack.stack.rawValue
            let activations = try file.createDataset(
                place + "/activations", type: .float32, rowShape: [stack.layers.count, shape.hiddenSize])
            try file.setAttribute(
                "first_layer", to: .integer(Int64(stack.layers.lowerBound)), of: place + "/activations")
            let offsets = try file.createDataset(place + "/offsets", type: .int64)
            try offsets.append([Int64(0)])
            return (layers: stack, activations: activations, offsets: offsets)
        }
        let targetOffsets =
            sample.targetIDs == nil ? nil : try file.createDataset(root + "/target_offsets", type: .int64)
        try targetOffsets?.append([Int64(0)])
        return SplitFile(
            sampleIDs: try file.createDataset(root + "/sample_ids", type: .int64),
            checksums: try file.createDataset(root + "/crc32c", type: .uint32), stacks: stacks,
            tokenIDs: try file.createDataset(root + "/token_ids", type: .int32),
            labels: sample.label == nil ? nil : try file.createDataset(root + "/labels", type: .float32),
            targetIDs: sample.targetIDs == nil
                ? nil : try file.createDataset(root + "/target_ids", type: .int32),
            targetOffsets: targetOffsets, ends: stacks.map { _ in [0] })
    }

    /// Hands everything written so far to the system.
    func flush() throws {
        try file.flush()
        unflushedBytes = 0
    }

    /// Puts the file on the disk and gives it its name. It stays open for reading.
    ///
    /// - Parameter isWhole: whether every sample is in it, which the file then says.
    func complete(isWhole: Bool) throws {
        try file.setAttribute("complete", to: .bool(isWhole))
        try file.sync()
        try renameFile(temporaryPath, to: path)
        temporaryPath = path
    }

    /// Makes room for the file that will take its place, and saves what is in it.
    func setAside() throws {
        try file.sync()
        try renameFile(temporaryPath, to: path + ".epoch-1.part")
        temporaryPath = path + ".epoch-1.part"
    }

    /// Closes the file and removes it.
    func discard() throws {
        try file.close()
        try removeFile(temporaryPath)
    }

    /// Closes the file.
    func close() throws { try file.close() }

    // MARK: Reading

    /// Reads a sample's rows of every stack into the given places and checks their checksum.
    ///
    /// - Parameter places: for each stack of the shape, room for [tokens, layers, hidden].
    func read(_ split: Split, sample: Int, into places: [UnsafeMutablePointer<Float>]) throws {
        guard let group = splits[split], let row = group.rows[sample] else {
            throw Failure.run("\(path): /\(split.rawValue): sample \(sample) is not in the cache")
        }
        var crc: UInt32 = 0
        for (index, stack) in group.stacks.enumerated() {
            let rows = group.ends[index][row]..<group.ends[index][row + 1]
            let bytes = UnsafeMutableRawBufferPointer(
                start: places[index], count: rows.count * shape.rowCount(stack.layers) * 4)
            try stack.activations.read(rows: rows, into: bytes)
            crc = ck_crc32c(crc, bytes.baseAddress, bytes.count)
        }
        guard crc == group.crcs[row] else {
            throw Failure.run(
                "\(path): /\(split.rawValue): sample \(sample): expected checksum \(group.crcs[row]), found \(crc): "
                    + "the file is damaged")
        }
    }
}
