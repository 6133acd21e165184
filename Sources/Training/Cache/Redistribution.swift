import MPI
import Models
import Planning
import Support
import TensorCore
import TextData

/// Moves the cache from where it was made to where it will be used: from (layers of a stage, rows of a rank) to all
/// layers of the samples that a rank trains in cached epochs.
///
/// Who computed what and who owns what follows from the plan and the order of samples, so nothing but activations
/// travels, in chunks of bounded size. Collective over the world.
struct Redistribution {
    private let plan: Plan
    private let shapes: [CacheShape]
    private let complete: CacheShape
    /// The world rank that owns each slot.
    private let owners: [Int]
    private let thread: IOThread
    private let ledger: Ledger

    /// Bytes that all ranks together move at a time, where every rank has room for them.
    private static let mostChunkBytes = 64 << 20

    init(
        _ plan: Plan, _ family: any ModelFamily, _ technique: ParallelAdapters, owners: [Int],
        thread: IOThread, ledger: Ledger
    ) throws {
        self.plan = plan
        shapes = try plan.stages.map {
            try CacheShape(family, technique, steps: family.steps(of: $0.layers))
        }
        complete = try CacheShape(
            family, technique, steps: family.steps(of: 0..<family.plannerLayers.count))
        self.owners = owners
        self.thread = thread
        self.ledger = ledger
    }

    /// Whether every rank already holds exactly what it will use: a single stage of all ranks that own what they computed.
    static func isNeeded(_ plan: Plan, owners: [Int], worldSize: Int) -> Bool {
        plan.stages.count > 1 || plan.stages[0].ranks.count < worldSize
            || owners.indices.contains { slot in
                owners[slot] != plan.stages[0].ranks[plan.position(ofSlot: slot, stage: 0)]
            }
    }

    /// Moves one split.
    ///
    /// - Parameters:
    ///   - source: what this rank wrote; nil when the plan left it out.
    ///   - miniBatches: the samples by slot, as they were computed.
    /// - Returns: bytes that this rank received from others.
    func move(
        _ split: Split, from source: ActivationCacheFile?, to target: ActivationCacheFile,
        miniBatches: [[Int]],
        dataset: TokenizedDataset, builder: BatchBuilder, world: borrowing Communicator
    ) throws -> Int {
        let chunkBytes = try chunkBytes(world)
        var received = 0
        var chunk: [(slot: Int, sample: Int)] = []
        var bytes = 0
        for miniBatch in miniBatches {
            for (slot, sample) in miniBatch.enumerated() {
                chunk.append((slot, sample))
                bytes += complete.floatCount { builder.tokenCount(sample, $0) } * 4
                guard bytes >= chunkBytes else { continue }
                received += try move(chunk, split, source, target, dataset, builder, world)
                (chunk, bytes) = ([], 0)
            }
        }
        return chunk.isEmpty
            ? received : received + (try move(chunk, split, source, target, dataset, builder, world))
    }

    /// Bytes to move at a time, such that a rank that sends and receives all of a chunk, and puts it together, keeps to its
    /// budget. A chunk has one sample at least. Collective over the world.
    private func chunkBytes(_ world: borrowing Communicator) throws -> Int {
        let room = min(ledger.headroom / 3, Self.mostChunkBytes)
        return -Int(try world.allReduceMax(Int64(-room)))
    }

    /// The rank that computed a slot's samples on a stage.
    private func computer(_ slot: Int, _ stage: Int) -> Int {
        plan.stages[stage].ranks[plan.position(ofSlot: slot, stage: stage)]
    }

    private func move(
        _ chunk: [(slot: Int, sample: Int)], _ split: Split, _ source: ActivationCacheFile?,
        _ target: ActivationCacheFile, _ dataset: TokenizedDataset, _ builder: BatchBuilder,
        _ world: borrowing Communicator
    ) throws -> Int {
        let me = world.rank
        func floats(_ sample: Int, _ shape: CacheShape) -> Int {
            shape.floatCount { builder.tokenCount(sample, $0) }
        }
        // Messages by rank, and in each the chunk's samples in order.
        var outgoing = [Int](repeating: 0, count: world.size)
        var incoming = [Int](repeating: 0, count: world.size)
        for (slot, sample) in chunk {
            for stage in plan.stages.indices {
                if computer(slot, stage) == me { outgoing[owners[slot]] += floats(sample, shapes[stage]) }
                if owners[slot] == me { incoming[computer(slot, stage)] += floats(sample, shapes[stage]) }
            }
        }
        let sent = FloatMessage(count: outgoing.reduce(0, +), ledger: ledger)
        let got = FloatMessage(count: incoming.reduce(0, +), ledger: ledger)
        try world.agree { try fill(sent, outgoing, chunk, split, source, builder, me) }
        try withExtendedLifetime((sent, got)) {
            try world.allToAll(
                from: UnsafeRawBufferPointer(sent.bytes), counts: outgoing.map { $0 * 4 },
                offsets: Self.starts(outgoing).map { $0 * 4 }, into: got.bytes,
                counts: incoming.map { $0 * 4 },
                offsets: Self.starts(incoming).map { $0 * 4 })
        }
        try world.agree { try store(got, incoming, chunk, split, target, dataset, builder, me) }
        return (got.storage.count - incoming[me]) * 4
    }

    /// Reads this rank's part of the chunk into the outgoing messages.
    private func fill(
        _ message: FloatMessage, _ counts: [Int], _ chunk: [(slot: Int, sample: Int)], _ split: Split,
        _ source: ActivationCacheFile?, _ builder: BatchBuilder, _ me: Int
    ) throws {
        guard let source, let stage = plan.stageIndex(ofRank: me) else { return }
        var cursors = Self.starts(counts)
        var reads: [(sample: Int, places: [Int])] = []
        for (slot, sample) in chunk where computer(slot, stage) == me {
            var places: [Int] = []
            for stack in shapes[stage].stacks {
                places.append(cursors[owners[slot]])
                cursors[owners[slot]] +=
                    builder.tokenCount(sample, stack.stack) * shapes[stage].rowCount(stack)
            }
            reads.append((sample, places))
        }
        let base = Base(pointer: message.storage.pointer)
        try thread.run { [reads] in
            for (sample, places) in reads {
                try source.read(split, sample: sample, into: places.map { base.pointer + $0 })
            }
        }
    }

    /// Puts the layers of each owned sample together and appends them to the target.
    private func store(
        _ message: FloatMessage, _ counts: [Int], _ chunk: [(slot: Int, sample: Int)], _ split: Split,
        _ target: ActivationCacheFile, _ dataset: TokenizedDataset, _ builder: BatchBuilder, _ me: Int
    ) throws {
        var cursors = Self.starts(counts)
        let owned = chunk.filter { owners[$0.slot] == me }
        let sizes = complete.stacks.map { stack in
            owned.reduce(0) { $0 + builder.tokenCount($1.sample, stack.stack) } * complete.rowCount(stack)
        }
        let bytes = sizes.reduce(0, +) * MemoryLayout<Float>.stride
        ledger.register(bytes, .cache)
        defer { ledger.release(bytes, .cache) }
        var buffers = sizes.map { [Float](repeating: 0, count: $0) }
        var starts = [Int](repeating: 0, count: buffers.count)
        for (slot, sample) in owned {
            for stage in plan.stages.indices {
                let rank = computer(slot, stage)
                for part in shapes[stage].stacks {
                    let index = complete.stacks.firstIndex { $0.stack == part.stack }!
                    let (width, all) = (
                        shapes[stage].rowCount(part), complete.rowCount(complete.stacks[index])
                    )
                    let first = part.layers.lowerBound * complete.hiddenSize
                    for token in 0..<builder.tokenCount(sample, part.stack) {
                        buffers[index].withUnsafeMutableBufferPointer {
                            ($0.baseAddress! + starts[index] + token * all + first).update(
                                from: message.storage.pointer + cursors[rank], count: width)
                        }
                        cursors[rank] += width
                    }
                }
            }
            for (index, stack) in complete.stacks.enumerated() {
                starts[index] += builder.tokenCount(sample, stack.stack) * complete.rowCount(stack)
            }
        }
        let rows = owned.map { owned in
            dataset.cacheRow(
                owned.sample, tokenCounts: complete.stacks.map { builder.tokenCount(owned.sample, $0.stack) })
        }
        try thread.run { [buffers] in try target.append(split, rows, buffers) }
    }

    private static func starts(_ counts: [Int]) -> [Int] {
        var total = 0
        return counts.map { count in
            defer { total += count }
            return total
        }
    }

    private struct Base: @unchecked Sendable { let pointer: UnsafeMutablePointer<Float> }
}
