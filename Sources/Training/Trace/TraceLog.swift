import Cluster
import MPI
import Plans
import Reporting
import Stages
import Support

/// Brings what all ranks recorded together on rank 0, on one clock, as `trace.json`.
///
/// The shared clock is rank 0's, in seconds since the run began. Each rank measures how its own differs when the log is
/// made and again at every `write`.
final class TraceLog {
    private let context: RankContext
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
    /// - Parameters: `path` is that of the file, which rank 0 writes; `begun` is when the run began, on this rank's clock.
    init(path: String, label: String, predicted: TraceGroup?, begun: Double, on context: RankContext) throws {
        self.context = context
        self.path = path
        self.label = label
        self.predicted = predicted
        let bytes = try context.world.fromRoot {
            var writer = ByteWriter()
            writer.write(begun)
            return writer.bytes
        }
        var reader = ByteReader(bytes, "the start of the run")
        start = try reader.double()
        try measureClock()
    }

    /// Writes what has been recorded so far, atomically. Collective over the world.
    func write() throws {
        try measureClock()
        let pieces = try context.world.gather(TraceFile.encode(group))
        try context.world.onRoot {
            try TraceFile.write(encoded: pieces! + (predicted.map { [TraceFile.encode($0)] } ?? []), to: path)
        }
    }

    /// Writes what this rank alone recorded, when it can no longer reach the others. For rank 0.
    func writeAlone() throws { try TraceFile.write([group], to: path) }

    private var group: TraceGroup {
        TraceGroup(
            origin: .measured, labels: [context.world.rank: label], spans: clock.shared(context.trace.spans))
    }

    /// Exchanges the time with rank 0. Collective over the world.
    private func measureClock() throws {
        let difference = try ClockExchange.difference(context.world) { MonotonicClock.seconds }
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
