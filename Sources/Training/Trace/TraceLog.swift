import MPI
import Planning
import Reporting
import Support

/// Brings what all ranks recorded together on rank 0, on one clock, as `trace.json`.
///
/// The shared clock is rank 0's, in seconds since the run began. Each rank measures how its own differs when the log is
/// made and again at every `write`.
final class TraceLog {
    private let session: Session
    private let path: String
    /// What a viewer shows beside this rank.
    private let label: String
    /// A mini-batch as it was expected, for rank 0 to write beside the measured ones; nil where nothing was profiled.
    private let predicted: TraceGroup?
    private var clock = ClockAlignment()

    /// Measures the clocks. Collective over the world.
    ///
    /// - Parameter path: of the file, which rank 0 writes.
    init(_ session: Session, path: String, label: String, predicted: TraceGroup?) throws {
        self.session = session
        self.path = path
        self.label = label
        self.predicted = predicted
        try measureClock()
    }

    /// Writes what has been recorded so far, atomically. Collective over the world.
    func write() throws {
        try measureClock()
        let pieces = try session.world.gather(TraceFile.encode(group))
        try session.world.onRoot {
            try TraceFile.write(encoded: pieces! + (predicted.map { [TraceFile.encode($0)] } ?? []), to: path)
        }
    }

    /// Writes what this rank alone recorded, when it can no longer reach the others. For rank 0.
    func writeAlone() throws { try TraceFile.write([group], to: path) }

    private var group: TraceGroup {
        TraceGroup(
            origin: .measured, labels: [session.world.rank: label], spans: clock.shared(session.trace.spans))
    }

    /// Exchanges the time with rank 0, one rank after the other. Collective over the world.
    private func measureClock() throws {
        let rank = session.world.rank
        for peer in 1..<max(1, session.world.size) where rank == 0 || rank == peer {
            if rank == 0 { try answer(peer) } else { try ask() }
        }
        if rank == 0 { clock.add(local: MonotonicClock.seconds, difference: -session.start) }
    }

    private func ask() throws {
        var exchanges: [(sent: Double, answer: Double, received: Double)] = []
        var start = 0.0
        for _ in 0..<Self.exchangeCount {
            let sent = MonotonicClock.seconds
            try session.world.immediateSend(ByteBuffer(count: 1), to: 0, tag: Self.tag).wait()
            let answer = ByteBuffer(count: 16)
            try session.world.immediateReceive(into: answer, from: 0, tag: Self.tag).wait()
            let time = answer.bytes.load(as: Double.self)
            exchanges.append((sent, time, MonotonicClock.seconds))
            start = answer.bytes.load(fromByteOffset: 8, as: Double.self)
        }
        clock.add(
            local: MonotonicClock.seconds, difference: ClockAlignment.difference(exchanges) - start)
    }

    private func answer(_ peer: Int) throws {
        for _ in 0..<Self.exchangeCount {
            try session.world.immediateReceive(into: ByteBuffer(count: 1), from: peer, tag: Self.tag).wait()
            let answer = ByteBuffer(count: 16)
            answer.bytes.storeBytes(of: MonotonicClock.seconds, as: Double.self)
            answer.bytes.storeBytes(of: session.start, toByteOffset: 8, as: Double.self)
            try session.world.immediateSend(answer, to: peer, tag: Self.tag).wait()
        }
    }

    /// Exchanges of one measurement: the quickest counts, so a few that were held up do no harm.
    private static let exchangeCount = 16
    private static let tag = 7
}

extension Plan {
    /// A rank's place in a few words: "stage 0, layers 0-4".
    func label(ofRank rank: Int) -> String {
        guard let index = stageIndex(ofRank: rank) else { return "cached epochs only" }
        let layers = stages[index].layers
        return "stage \(index), "
            + (layers.count == 1
                ? "layer \(layers.lowerBound)" : "layers \(layers.lowerBound)-\(layers.upperBound - 1)")
    }
}
