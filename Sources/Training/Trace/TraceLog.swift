import MPI
import Plans
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
    /// When the run began, on rank 0's clock.
    private let start: Double

    /// Measures the clocks. Collective over the world.
    ///
    /// - Parameter path: of the file, which rank 0 writes.
    init(_ session: Session, path: String, label: String, predicted: TraceGroup?) throws {
        self.session = session
        self.path = path
        self.label = label
        self.predicted = predicted
        let begun = session.start
        start = try session.world.fromRoot { withUnsafeBytes(of: begun) { Array($0) } }
            .withUnsafeBytes { $0.loadUnaligned(as: Double.self) }
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

    /// Exchanges the time with rank 0. Collective over the world.
    private func measureClock() throws {
        let difference = try ClockExchange.difference(session.world) { MonotonicClock.seconds }
        clock.add(local: MonotonicClock.seconds, difference: difference - start)
    }
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
