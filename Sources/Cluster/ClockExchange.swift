import MPI
import Reporting

/// How far the clocks of all ranks are from rank 0's.
package enum ClockExchange {
    /// Exchanges of one measurement: the quickest counts, so a few that were held up do no harm.
    private static let exchangeCount = 16
    private static let tag = 7

    /// Rank 0's clock less this rank's, in seconds; 0 within what the measurement can tell. Collective: each rank exchanges
    /// the time with rank 0, one after the other.
    ///
    /// - Parameter clock: the same one on every rank, in seconds.
    package static func difference(_ world: borrowing Communicator, clock: () -> Double) throws -> Double {
        guard world.rank == 0 else { return try ask(world, clock) }
        for peer in 1..<max(1, world.size) { try answer(peer, world, clock) }
        return 0
    }

    private static func ask(_ world: borrowing Communicator, _ clock: () -> Double) throws -> Double {
        var exchanges: [(sent: Double, answer: Double, received: Double)] = []
        for _ in 0..<exchangeCount {
            let sent = clock()
            try world.immediateSend(ByteBuffer(count: 1), to: 0, tag: tag).wait()
            let answer = ByteBuffer(count: 8)
            try world.immediateReceive(into: answer, from: 0, tag: tag).wait()
            exchanges.append((sent, answer.bytes.load(as: Double.self), clock()))
        }
        return ClockAlignment.difference(exchanges)
    }

    private static func answer(_ peer: Int, _ world: borrowing Communicator, _ clock: () -> Double) throws {
        for _ in 0..<exchangeCount {
            try world.immediateReceive(into: ByteBuffer(count: 1), from: peer, tag: tag).wait()
            let answer = ByteBuffer(count: 8)
            answer.bytes.storeBytes(of: clock(), as: Double.self)
            try world.immediateSend(answer, to: peer, tag: tag).wait()
        }
    }
}
