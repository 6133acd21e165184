import Cluster
import MPI
import Models
import Stages
import Support
import TensorCore
import TextData

/// Moves activations to the ranks that train on them: from any files of any ranks into one file for each rank, with all
/// layers of the samples that the rank trains in cached epochs.
///
/// Every rank knows the inventory of all files, so messages hold nothing but activations, as they are stored, in chunks.
/// One chunk is read while another travels and a third is written. The caller may compute meanwhile and call `advance` now
/// and then. All ranks ship the same samples in the same order.
package final class Redistribution {
    /// Which samples lie in which files, including samples that are still to be computed.
    package var inventory: CacheInventory
    /// The files that this rank sees, as the inventory counts them.
    private let sources: [ActivationCacheFile]
    /// Takes the samples that this rank owns; it has all layers.
    package let target: ActivationCacheFile
    private let thread: IOThread
    private let ledger: Ledger
    private let channel: Channel
    /// Chunks that wait to be read.
    private var queue: ArraySlice<Chunk> = []
    /// Pending shipments, the oldest first.
    private var shipments: [Shipment] = []
    /// Bytes that all ranks together move at a time, but at least a sample.
    private var chunkBytes = 0
    /// How many shipments may be pending at once.
    private var depth = mostShipments
    /// How many shipments have begun so far.
    private var begunCount = 0
    /// The first failure of this rank's disk.
    private var failure: (any Error)?
    /// Whether this rank knows of a failed disk. It then reads and writes no more, but still takes part in exchanges.
    private var isSpoiled = false
    /// Samples that are moving or have arrived, the same on all ranks.
    private var shipped: [Split: Set<Int>] = [:]
    /// Bytes that this rank got from others.
    private(set) var receivedBytes = 0

    /// A sample, and the rank that will train it.
    package typealias Owned = (sample: Int, owner: Int)

    /// Pending shipments at most: one read, one on the network, one written.
    private static let mostShipments = 3
    /// Copies of a shipment in the memory of a rank that sends and receives all of it.
    private static let copies = 3
    /// More bytes at a time bring nothing, unless a sample has more.
    private static let mostChunkBytes = 16 << 20

    /// - Parameter target: takes the samples that this rank owns; it has all layers.
    package init(
        _ inventory: CacheInventory, from sources: [ActivationCacheFile], to target: ActivationCacheFile,
        thread: IOThread, ledger: Ledger, over channel: Channel
    ) {
        self.inventory = inventory
        self.sources = sources
        self.target = target
        self.thread = thread
        self.ledger = ledger
        self.channel = channel
    }

    /// The world's ranks, with messages of their own: transfers may be pending while other messages are exchanged.
    package final class Channel {
        /// For the exchanges alone. Each rank starts one as soon as it has read, which is no fixed place among the other
        /// collective operations.
        fileprivate let exchanges: Communicator
        fileprivate let world: Communicator

        /// Collective over the world. One serves all that a run moves.
        init(_ world: borrowing Communicator) throws {
            exchanges = try world.duplicate(name: "exchanges of the redistribution")
            self.world = try world.duplicate(name: "redistribution")
        }
    }

    deinit {
        // The I/O thread still uses the memory of pending shipments: an error elsewhere must not free it first.
        for shipment in shipments {
            if case .read(let ticket) = shipment.progress { _ = Result { try ticket.wait() } }
            if case .written(let ticket) = shipment.progress { _ = Result { try ticket.wait() } }
        }
    }

    private var rank: Int { channel.world.rank }

    // MARK: Moving

    /// Whether this rank's disk has failed: all ranks must know before any of them stops.
    package var hasFailed: Bool { failure != nil }

    /// Throws what this rank's disk answered, once it failed.
    package func check() throws { if let failure { throw failure } }

    /// Whether all layers of a sample are stored, or will be.
    func knows(_ split: Split, _ sample: Owned) -> Bool {
        inventory.pieces(split, sample.sample, for: sample.owner) != nil
    }

    /// Whether a sample is moving or has arrived.
    func hasShipped(_ split: Split, _ sample: Int) -> Bool { shipped[split]?.contains(sample) ?? false }

    /// Sizes the chunks to the room that all ranks have. Collective over the world.
    ///
    /// - Parameters: `room` is this rank's memory for all pending shipments, in bytes; `bytes` is the largest sample's size.
    /// - Returns: whether it fits. If not, samples would move one by one.
    package func fit(into room: Int, largestSample bytes: Int) throws -> Bool {
        let own = min(
            room / (Self.mostShipments * Self.copies), max(Self.mostChunkBytes, bytes))
        chunkBytes = -Int(try channel.world.allReduceMax(Int64(-own)))
        depth = chunkBytes >= bytes ? Self.mostShipments : 1
        return chunkBytes >= bytes
    }

    /// Moves samples of one split. All their layers must be stored. Collective over the world.
    func move(_ split: Split, _ samples: [Owned], _ contents: SplitSamples) throws {
        let free = try channel.world.agree {
            try HostResources.availableMemoryBytes(rank: rank, hosts: channel.world.hosts)
        }
        let largest = samples.map { byteCount($0.sample, contents.builder) }.max() ?? 0
        _ = try fit(into: min(ledger.headroom, free / 3), largestSample: largest)
        ship(split, samples, contents)
        try finish()
    }

    /// Bytes that a sample has with all its layers.
    package func byteCount(_ sample: Int, _ builder: BatchBuilder) -> Int {
        byteCount(sample, target.shape, builder)
    }

    /// Lets samples follow those that are on their way. This rank's I/O thread has written its layers of them, or will
    /// before it comes to this.
    func ship(_ split: Split, _ samples: [Owned], _ contents: SplitSamples) {
        shipped[split, default: []].formUnion(samples.map(\.sample))
        var chunk = Chunk(split: split, contents: contents)
        var bytes = 0
        for owned in samples {
            let size = byteCount(owned.sample, contents.builder)
            if bytes + size > chunkBytes, !chunk.samples.isEmpty {
                queue.append(chunk)
                (chunk.samples, bytes) = ([], 0)
            }
            chunk.samples.append(owned)
            bytes += size
        }
        if !chunk.samples.isEmpty { queue.append(chunk) }
    }

    /// Advances all pending shipments, without blocking.
    package func advance() throws {
        for shipment in shipments {
            // Exchanges begin in the same order on all ranks: none before the one that was shipped before it.
            if case .read(let ticket) = shipment.progress, !ticket.isDone { break }
            if case .read = shipment.progress { try exchange(shipment) }
            if case .exchanged(let request) = shipment.progress, try request.test() { write(shipment) }
        }
        while case .written(let ticket)? = shipments.first?.progress, ticket.isDone { close() }
        while shipments.count < depth, let chunk = queue.popFirst() { begin(chunk) }
    }

    /// Returns when all samples have arrived. Collective over the world.
    ///
    /// - Throws: the failure of any rank's disk.
    package func finish() throws {
        while !queue.isEmpty || !shipments.isEmpty { try advanceOldest() }
        try channel.world.agree(check)
    }

    /// Drops the chunks that have not begun, and returns when no shipment is pending. Collective over the world, after a
    /// failure of all ranks.
    package func abandon() throws {
        isSpoiled = true
        // A shipment that one rank has begun needs all others.
        let count = Int(try channel.world.allReduceMax(Int64(begunCount)))
        queue = queue.prefix(count - begunCount)
        while !queue.isEmpty || !shipments.isEmpty { try advanceOldest() }
    }

    /// Advances all pending shipments, then blocks until the oldest one has advanced one step.
    private func advanceOldest() throws {
        try advance()
        guard let oldest = shipments.first else { return }
        switch oldest.progress! {
        case .read: try exchange(oldest)
        case .exchanged(let request):
            try request.wait()
            write(oldest)
        case .written: close()
        }
    }

    // MARK: The way of a shipment

    /// Reads this rank's part of a chunk.
    private func begin(_ chunk: Chunk) {
        let parcels = chunk.samples.map { sample, owner in
            guard let pieces = inventory.pieces(chunk.split, sample, for: owner) else {
                preconditionFailure("sample \(sample) is not in any cache file")
            }
            return Parcel(
                sample: sample, owner: owner,
                pieces: pieces.map { ($0, inventory.reader(of: $0, for: owner)) })
        }
        let (outgoing, incoming) = counts(parcels, chunk.builder)
        begunCount += 1
        let shipment = Shipment(chunk, parcels, outgoing: outgoing, incoming: incoming, ledger: ledger)
        shipment.progress = .read(read(shipment))
        shipments.append(shipment)
    }

    private func byteCount(_ sample: Int, _ shape: CacheShape, _ builder: BatchBuilder) -> Int {
        shape.floatCount { builder.tokenCount(sample, $0) } * target.precision.byteCount
    }

    /// Bytes that this rank sends to each and gets from each.
    private func counts(_ parcels: [Parcel], _ builder: BatchBuilder) -> (outgoing: [Int], incoming: [Int]) {
        var outgoing = [Int](repeating: 0, count: channel.world.size)
        var incoming = [Int](repeating: 0, count: channel.world.size)
        for parcel in parcels {
            for (file, reader) in parcel.pieces {
                let bytes = byteCount(parcel.sample, inventory.files[file].shape, builder)
                if reader == rank { outgoing[parcel.owner] += bytes }
                if parcel.owner == rank { incoming[reader] += bytes }
            }
        }
        return (outgoing.map(Self.withVerdict), incoming.map(Self.withVerdict))
    }

    /// A message ends with a byte that says whether its sender could read all of it.
    private static func withVerdict(_ bytes: Int) -> Int { bytes == 0 ? 0 : bytes + 1 }

    /// Reads this rank's part into the outgoing messages.
    private func read(_ shipment: Shipment) -> IOThread.Ticket {
        var cursors = Self.starts(shipment.outgoing)
        var reads: [(file: ActivationCacheFile, sample: Int, places: [Int])] = []
        for parcel in shipment.parcels {
            for (file, reader) in parcel.pieces where reader == rank {
                let source = sources[inventory.files[file].position(on: rank)!]
                let places = source.shape.stacks.map { stack in
                    defer {
                        cursors[parcel.owner] +=
                            shipment.chunk.builder.tokenCount(parcel.sample, stack.stack)
                            * source.shape.rowCount(stack) * source.precision.byteCount
                    }
                    return cursors[parcel.owner]
                }
                reads.append((source, parcel.sample, places))
            }
        }
        let base = Base(pointer: UnsafeMutableRawPointer(shipment.sent!.storage.pointer))
        let (split, isRead) = (shipment.chunk.split, !isSpoiled)
        return thread.enqueue { [reads] in
            guard isRead else { return }
            for (file, sample, places) in reads {
                try file.readStored(split, sample: sample, into: places.map { base.pointer + $0 })
            }
        }
    }

    /// Starts the exchange of what was read. A rank whose disk has failed takes part: the others wait for it.
    private func exchange(_ shipment: Shipment) throws {
        if case .read(let ticket) = shipment.progress {
            settle(ticket)
        }
        for end in Self.ends(shipment.outgoing) { shipment.sent!.bytes[end - 1] = isSpoiled ? 0 : 1 }
        shipment.progress = .exchanged(
            try channel.exchanges.immediateAllToAll(
                from: shipment.sent!, counts: shipment.outgoing, offsets: Self.starts(shipment.outgoing),
                into: shipment.got!, counts: shipment.incoming, offsets: Self.starts(shipment.incoming)))
    }

    /// Puts the layers of each owned sample together and appends them to the target.
    private func write(_ shipment: Shipment) {
        receivedBytes += shipment.incoming.enumerated().reduce(0) {
            $0 + ($1.offset == rank ? 0 : $1.element)
        }
        shipment.sent = nil
        if Self.ends(shipment.incoming).contains(where: { shipment.got!.bytes[$0 - 1] == 0 }) {
            isSpoiled = true
        }
        let owned = shipment.parcels.filter { $0.owner == rank }
        let buffers = isSpoiled ? [] : assembled(owned, shipment)
        shipment.got = nil
        let (shape, builder) = (target.shape, shipment.chunk.builder)
        let rows = owned.map { parcel in
            shipment.chunk.contents.dataset.cacheRow(
                parcel.sample,
                tokenCounts: shape.stacks.map { builder.tokenCount(parcel.sample, $0.stack) })
        }
        let (split, isWritten) = (shipment.chunk.split, !isSpoiled)
        shipment.progress = .written(
            thread.enqueue { [target] in
                if isWritten { try target.append(split, rows, buffers) }
            })
    }

    /// For each stack of the target the rows of all these samples, [tokens, layers, hidden].
    private func assembled(_ owned: [Parcel], _ shipment: Shipment) -> [StoredNumbers] {
        let builder = shipment.chunk.builder
        let assembly = SampleAssembly(
            target.shape, target.precision,
            owned.map { parcel in
                SampleAssembly.Sample(
                    pieces: parcel.pieces.map { (inventory.files[$0.file].shape, $0.reader) },
                    tokenCount: { builder.tokenCount(parcel.sample, $0) })
            })
        shipment.writtenBytes = assembly.byteCount
        ledger.register(shipment.writtenBytes, .cache)
        return assembly.rows(
            from: UnsafeRawPointer(shipment.got!.storage.pointer), starts: Self.starts(shipment.incoming))
    }

    /// Forgets the oldest shipment, which is written.
    private func close() {
        let shipment = shipments.removeFirst()
        guard case .written(let ticket) = shipment.progress else { return }
        settle(ticket)
        ledger.release(shipment.writtenBytes, .cache)
    }

    /// Waits for the disk and keeps what it answers.
    private func settle(_ ticket: IOThread.Ticket) {
        do { try ticket.wait() } catch {
            failure = failure ?? error
            isSpoiled = true
        }
    }

    /// Where each message that is not empty ends.
    private static func ends(_ counts: [Int]) -> [Int] {
        zip(starts(counts), counts).compactMap { $1 == 0 ? nil : $0 + $1 }
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
