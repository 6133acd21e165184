import Configuration
import HDF5
import Models
import Support
import TextData

/// One HDF5 file of a rank's activation cache, in the layout of docs/outputs.md.
///
/// `/train` and `/validation` hold, for each stack, `activations` [tokens, layers, hidden] of true lengths and
/// `offsets`; beside them `sample_ids`, `crc32c`, labels and token ids. The file is written as `….part`, flushed as it
/// grows, and renamed when complete. Only its owner may read it: activations reveal the text that they came from.
///
/// All calls but the look-ups run on the I/O thread.
package final class ActivationCacheFile: @unchecked Sendable {
    /// Where it is now.
    package private(set) var path: String
    package let shape: CacheShape
    package let precision: CachePrecision
    /// Tells files apart that several ranks see.
    package let identifier: String
    private let file: H5File
    private var splits: [Split: CacheSplit] = [:]
    private var unflushedBytes = 0

    /// Bytes after which what was written is flushed.
    private static let flushInterval = 8 << 20

    // MARK: Writing

    /// Creates a file, of this exact name.
    package static func create(
        _ path: String, shape: CacheShape, identity: CacheIdentity, rank: Int, worldSize: Int
    ) throws -> ActivationCacheFile {
        let file = try H5File.create(path, replacing: true)
        try restrictToOwner(path)
        var generator = SystemRandomNumberGenerator()
        let identifier = String(generator.next(), radix: 16) + String(generator.next(), radix: 16)
        for (name, value) in identity.attributes { try file.setAttribute(name, to: value) }
        let layers = shape.stacks.reduce(0) { $0 + $1.layers.count }
        for (name, value): (String, H5Attribute) in [
            ("layers", .integer(Int64(layers))), ("rank", .integer(Int64(rank))),
            ("world_size", .integer(Int64(worldSize))), ("file_id", .string(identifier)),
            ("complete", .bool(false)),
        ] {
            try file.setAttribute(name, to: value)
        }
        try file.flush()
        return ActivationCacheFile(path, file, shape, identity.precision, identifier)
    }

    private init(
        _ path: String, _ file: H5File, _ shape: CacheShape, _ precision: CachePrecision, _ identifier: String
    ) {
        self.path = path
        self.file = file
        self.shape = shape
        self.precision = precision
        self.identifier = identifier
    }

    /// Appends samples.
    ///
    /// - Parameter activations: for each stack of the shape, the packed rows of all these samples,
    ///   [tokens, layers, hidden].
    package func append(_ split: Split, _ samples: [CacheSplit.SampleRow], _ activations: [StoredNumbers])
        throws
    {
        guard !samples.isEmpty else { return }
        let group =
            try splits[split]
            ?? CacheSplit(creating: split, in: file, shape, precision, example: samples[0])
        splits[split] = group
        unflushedBytes += try group.append(samples, activations)
        if unflushedBytes >= Self.flushInterval { try flush() }
    }

    /// Hands everything written so far to the system.
    package func flush() throws {
        try file.flush()
        unflushedBytes = 0
    }

    /// Puts the file on the disk.
    ///
    /// - Parameter isWhole: whether every sample is in it, which the file then says.
    package func complete(isWhole: Bool) throws {
        try file.setAttribute("complete", to: .bool(isWhole))
        try file.sync()
    }

    /// Gives the file another name. It stays open.
    package func rename(to newPath: String) throws {
        try renameFile(path, to: newPath)
        path = newPath
    }

    /// Closes the file and removes it.
    package func discard() throws {
        try file.close()
        try removeFile(path)
    }

    /// Closes the file.
    package func close() throws { try file.close() }

    // MARK: Reading

    /// Reads what a file holds that an earlier run left.
    ///
    /// - Parameters: `identity` is what the file was found to belong to; `verifies` asks for every sample's checksum: those
    ///   that fail count as missing.
    /// - Throws: when the file is damaged.
    init(reading file: H5File, identity: CacheIdentity, verifies: Bool) throws {
        path = file.path
        self.file = file
        precision = identity.precision
        guard case .string(let identifier)? = try file.attribute("file_id") else {
            throw Failure.configuration("\(file.path): file_id: expected a text, found none")
        }
        self.identifier = identifier
        let shapes = try Split.allCases.compactMap { split in
            try CacheSplit.shape(of: split, in: file).map { (split, $0) }
        }
        shape = shapes.first?.1 ?? CacheShape(stacks: [], hiddenSize: 0)
        for (split, own) in shapes {
            guard own == shape else {
                throw Failure.configuration(
                    "\(file.path): /\(split.rawValue): expected the same layers in all splits, found others")
            }
            splits[split] = try CacheSplit(opening: split, in: file, shape, identity.precision)
        }
        if verifies { forgetDamaged() }
    }

    /// Leaves out the samples whose checksum is not that of their bytes.
    private func forgetDamaged() {
        for group in splits.values {
            for sample in Array(group.samples) {
                let sizes = group.tokenCounts(sample)!.enumerated().map { $1 * group.rowBytes($0) }
                let memory = UnsafeMutableRawPointer.allocate(
                    byteCount: max(16, sizes.reduce(0, +)), alignment: 16)
                defer { memory.deallocate() }
                var start = 0
                let places = sizes.map { size in
                    defer { start += size }
                    return memory + start
                }
                do { try group.read(sample, into: places) } catch { group.forget(sample) }
            }
        }
    }

    /// The samples of a split that are there.
    package func samples(_ split: Split) -> [Int] { splits[split].map { Array($0.samples) } ?? [] }

    /// Whether a sample is there.
    package func contains(_ split: Split, _ sample: Int) -> Bool { splits[split]?.contains(sample) ?? false }

    /// Leaves out the samples whose lengths are not those that the data has.
    func forget(_ split: Split, where isWrong: (_ sample: Int, _ tokenCounts: [Int]) -> Bool) {
        guard let group = splits[split] else { return }
        for sample in Array(group.samples) where isWrong(sample, group.tokenCounts(sample)!) {
            group.forget(sample)
        }
    }

    /// Reads a sample's rows of every stack as they are stored and checks their checksum.
    ///
    /// - Parameter places: for each stack of the shape, room for [tokens, layers, hidden] in the file's precision.
    func readStored(_ split: Split, sample: Int, into places: [UnsafeMutableRawPointer]) throws {
        guard let group = splits[split] else {
            throw Failure.run("\(path): /\(split.rawValue): sample \(sample) is not in the cache")
        }
        try group.read(sample, into: places)
    }

    /// Reads a sample's rows of every stack as float32 and checks their checksum.
    ///
    /// - Parameter places: for each stack of the shape, room for [tokens, layers, hidden].
    package func read(_ split: Split, sample: Int, into places: [UnsafeMutablePointer<Float>]) throws {
        guard precision != .float32 else {
            return try readStored(split, sample: sample, into: places.map { UnsafeMutableRawPointer($0) })
        }
        guard let counts = splits[split]?.tokenCounts(sample) else {
            throw Failure.run("\(path): /\(split.rawValue): sample \(sample) is not in the cache")
        }
        let sizes = zip(counts, shape.stacks).map { $0 * shape.rowCount($1) }
        var words = [UInt16](unsafeUninitializedCapacity: sizes.reduce(0, +)) { $1 = $0.count }
        try words.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            var start = 0
            let starts = sizes.map { size in
                defer { start += size }
                return start
            }
            try readStored(split, sample: sample, into: starts.map { UnsafeMutableRawPointer(base + $0) })
            for (index, size) in sizes.enumerated() {
                precision.decode(base + starts[index], into: places[index], count: size)
            }
        }
    }
}
