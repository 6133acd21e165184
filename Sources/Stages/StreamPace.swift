import MPI

/// Keeps the ranks of a stream within a few mini-batches of each other, and tells all of them when one has failed.
///
/// Ranks without a stage, and stages without a neighbour, would otherwise run far ahead and wait at the end for longer than
/// the wait limit.
package final class StreamPace {
    private let communicator: Communicator
    private var tokens: [(request: Request, received: ByteBuffer)] = []

    /// Mini-batches that a rank may be ahead of the last one.
    private static let lead = 4

    /// Collective over the world.
    package init(_ world: borrowing Communicator) throws {
        communicator = try world.duplicate(name: "stream")
    }

    /// Tells the others that this rank has finished a mini-batch, and waits for ranks that are far behind. All ranks call it
    /// equally often.
    ///
    /// - Parameter meanwhile: is called now and then during the wait.
    /// - Returns: on all ranks alike, whether one had failed some mini-batches ago.
    package func pass(hasFailed: Bool, meanwhile: () throws -> Void) throws -> Bool {
        let size = communicator.size
        let sent = ByteBuffer(copying: Array(repeating: hasFailed ? 1 : 0, count: size))
        let received = ByteBuffer(count: size)
        let (counts, offsets) = (Array(repeating: 1, count: size), Array(0..<size))
        let request = try communicator.immediateAllToAll(
            from: sent, counts: counts, offsets: offsets, into: received, counts: counts, offsets: offsets)
        tokens.append((request, received))
        return tokens.count > Self.lead ? try takeOldest(meanwhile) : false
    }

    /// Waits until all ranks have come here. Returns whether one has failed.
    package func finish(meanwhile: () throws -> Void) throws -> Bool {
        var hasFailed = false
        while !tokens.isEmpty { hasFailed = try takeOldest(meanwhile) || hasFailed }
        return hasFailed
    }

    private func takeOldest(_ meanwhile: () throws -> Void) throws -> Bool {
        let (request, received) = tokens.removeFirst()
        try request.wait(meanwhile: meanwhile)
        return received.bytes.contains { $0 != 0 }
    }
}
