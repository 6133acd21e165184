import MPI
import Models
import Support
import TensorCore
import TextData

/// Moves activations from where they lie to where they will be used: from any files of any ranks to a file of all layers
/// of the samples that a rank trains in cached epochs.
///
/// Who has what follows from the inventory, which every rank knows, so nothing but activations travels, as they are
/// stored, in chunks of bounded size. Collective over the world.
struct Redistribution {
    private let inventory: CacheInventory
    /// The files that this rank sees, as the inventory counts them.
    private let sources: [ActivationCacheFile]
    private let target: ActivationCacheFile
    private let thread: IOThread
    private let ledger: Ledger

    /// A sample, and the rank that will train it.
    typealias Owned = (sample: Int, owner: Int)

    /// A sample of a chunk, with the files that its layers come from and who reads each.
    private struct Parcel {
        let sample: Int
        let owner: Int
        let pieces: [(file: Int, reader: Int)]
    }

    /// Bytes that all ranks together move at a time, where every rank has room for them.
    private static let mostChunkBytes = 64 << 20

    /// - Parameter target: takes the samples that this rank owns; it has all layers.
    init(
        _ inventory: CacheInventory, from sources: [ActivationCacheFile], to target: ActivationCacheFile,
        thread: IOThread, ledger: Ledger
    ) {
        self.inventory = inventory
        self.sources = sources
        self.target = target
        self.thread = thread
        self.ledger = ledger
    }

    /// Moves samples of one split, all of which are there with all their layers.
    ///
    /// - Returns: bytes that this rank received from others.
    func move(
        _ split: Split, _ samples: [Owned], dataset: TokenizedDataset, builder: BatchBuilder,
        world: borrowing Communicator
    ) throws -> Int {
        let chunkBytes = try chunkBytes(world)
        var received = 0
        var chunk: [Parcel] = []
        var bytes = 0
        for (sample, owner) in samples {
            guard let pieces = inventory.pieces(split, sample, for: owner) else {
                preconditionFailure("sample \(sample) is not in any cache file")
            }
            chunk.append(
                Parcel(
                    sample: sample, owner: owner,
                    pieces: pieces.map { ($0, inventory.reader(of: $0, for: owner)) }))
            bytes += byteCount(sample, target.shape, builder)
            guard bytes >= chunkBytes else { continue }
            received += try move(chunk, split, dataset, builder, world)
            (chunk, bytes) = ([], 0)
        }
        return chunk.isEmpty ? received : received + (try move(chunk, split, dataset, builder, world))
    }

    /// Bytes to move at a time, such that a rank that sends and receives all of a chunk, and puts it together, keeps to its
    /// budget. A chunk has one sample at least. Collective over the world.
    private func chunkBytes(_ world: borrowing Communicator) throws -> Int {
        let sharing = world.hosts.filter { $0 == world.hosts[world.rank] }.count
        let free = try world.agree { try HostResources.current().availableMemoryBytes } / sharing
        let room = min(ledger.headroom / 3, free / 8, Self.mostChunkBytes)
        return -Int(try world.allReduceMax(Int64(-room)))
    }

    private func byteCount(_ sample: Int, _ shape: CacheShape, _ builder: BatchBuilder) -> Int {
        shape.floatCount { builder.tokenCount(sample, $0) } * target.precision.byteCount
    }

    private func move(
        _ chunk: [Parcel], _ split: Split, _ dataset: TokenizedDataset, _ builder: BatchBuilder,
        _ world: borrowing Communicator
    ) throws -> Int {
        let me = world.rank
        // Messages by rank, and in each the chunk's samples in order.
        var outgoing = [Int](repeating: 0, count: world.size)
        var incoming = [Int](repeating: 0, count: world.size)
        for parcel in chunk {
            for (file, reader) in parcel.pieces {
                let bytes = byteCount(parcel.sample, inventory.files[file].shape, builder)
                if reader == me { outgoing[parcel.owner] += bytes }
                if parcel.owner == me { incoming[reader] += bytes }
            }
        }
        let sent = FloatMessage(byteCount: outgoing.reduce(0, +), ledger: ledger)
        let got = FloatMessage(byteCount: incoming.reduce(0, +), ledger: ledger)
        try world.agree { try fill(sent, outgoing, chunk, split, builder, me) }
        try withExtendedLifetime((sent, got)) {
            try world.allToAll(
                from: UnsafeRawBufferPointer(sent.bytes), counts: outgoing, offsets: Self.starts(outgoing),
                into: got.bytes, counts: incoming, offsets: Self.starts(incoming))
        }
        try world.agree { try store(got, incoming, chunk, split, dataset, builder, me) }
        return incoming.reduce(0, +) - incoming[me]
    }

    /// Reads this rank's part of the chunk into the outgoing messages.
    private func fill(
        _ message: FloatMessage, _ counts: [Int], _ chunk: [Parcel], _ split: Split, _ builder: BatchBuilder,
        _ me: Int
    ) throws {
        var cursors = Self.starts(counts)
        var reads: [(file: ActivationCacheFile, sample: Int, places: [Int])] = []
        for parcel in chunk {
            for (file, reader) in parcel.pieces where reader == me {
                let source = sources[inventory.files[file].position(on: me)!]
                let places = source.shape.stacks.map { stack in
                    defer {
                        cursors[parcel.owner] +=
                            builder.tokenCount(parcel.sample, stack.stack) * source.shape.rowCount(stack)
                            * source.precision.byteCount
                    }
                    return cursors[parcel.owner]
                }
                reads.append((source, parcel.sample, places))
            }
        }
        let base = Base(pointer: UnsafeMutableRawPointer(message.storage.pointer))
        try thread.run { [reads] in
            for (file, sample, places) in reads {
                try file.readStored(split, sample: sample, into: places.map { base.pointer + $0 })
            }
        }
    }

    /// Puts the layers of each owned sample together and appends them to the target.
    private func store(
        _ message: FloatMessage, _ counts: [Int], _ chunk: [Parcel], _ split: Split,
        _ dataset: TokenizedDataset, _ builder: BatchBuilder, _ me: Int
    ) throws {
        let complete = target.shape
        let width = target.precision.byteCount
        var cursors = Self.starts(counts)
        let owned = chunk.filter { $0.owner == me }
        let sizes = complete.stacks.map { stack in
            owned.reduce(0) { $0 + builder.tokenCount($1.sample, stack.stack) } * complete.rowCount(stack)
        }
        let bytes = sizes.reduce(0, +) * width
        ledger.register(bytes, .cache)
        defer { ledger.release(bytes, .cache) }
        var buffers = sizes.map { StoredNumbers(repeatingZero: $0, target.precision) }
        var starts = [Int](repeating: 0, count: buffers.count)
        let source = UnsafeRawPointer(message.storage.pointer)
        for parcel in owned {
            for (file, reader) in parcel.pieces {
                let shape = inventory.files[file].shape
                for part in shape.stacks {
                    let tokens = builder.tokenCount(parcel.sample, part.stack)
                    // A narrower side network may leave a stack of another run's cache aside.
                    guard let index = complete.stacks.firstIndex(where: { $0.stack == part.stack }) else {
                        cursors[reader] += tokens * shape.rowCount(part) * width
                        continue
                    }
                    let (row, all) = (
                        shape.rowCount(part) * width, complete.rowCount(complete.stacks[index]) * width
                    )
                    let first =
                        starts[index]
                        + (part.layers.lowerBound - complete.stacks[index].layers.lowerBound)
                        * complete.hiddenSize * width
                    buffers[index].withUnsafeMutableBytes { buffer in
                        for token in 0..<tokens {
                            (buffer.baseAddress! + first + token * all).copyMemory(
                                from: source + cursors[reader] + token * row, byteCount: row)
                        }
                    }
                    cursors[reader] += tokens * row
                }
            }
            for (index, stack) in complete.stacks.enumerated() {
                starts[index] +=
                    builder.tokenCount(parcel.sample, stack.stack) * complete.rowCount(stack) * width
            }
        }
        let rows = owned.map { parcel in
            dataset.cacheRow(
                parcel.sample,
                tokenCounts: complete.stacks.map { builder.tokenCount(parcel.sample, $0.stack) })
        }
        try thread.run { [target, buffers] in try target.append(split, rows, buffers) }
    }

    private static func starts(_ counts: [Int]) -> [Int] {
        var total = 0
        return counts.map { count in
            defer { total += count }
            return total
        }
    }

    private struct Base: @unchecked Sendable { let pointer: UnsafeMutableRawPointer }
}
