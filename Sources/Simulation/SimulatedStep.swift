/// One mini-batch as it was simulated.
package struct SimulatedStep: Sendable, Equatable {
    package enum Lane: String, Sendable { case compute, network }

    /// Something that took time on one rank.
    package struct Span: Sendable, Equatable {
        package var rank: Int
        package var lane: Lane
        /// The action as `PipelineAction` writes it. A message is its sender's.
        package var name: String
        /// Seconds since the mini-batch began.
        package var start: Double
        package var seconds: Double
    }

    package struct Rank: Sendable, Equatable {
        package var rank: Int
        package var stage: Int
        /// Computing, the optimizer's step included.
        package var busySeconds: Double
        /// The most micro-batches between forward and backward.
        package var peakInFlightCount: Int
        package var peakBytes: Int
    }

    /// Until the last rank has stepped its optimizer.
    package var stepSeconds: Double
    /// The ranks of the plan, by stage.
    package var ranks: [Rank]
    package var spans: [Span]

    /// The share of the step in which a rank does not compute.
    package func bubbleFraction(_ rank: Rank) -> Double {
        stepSeconds > 0 ? 1 - rank.busySeconds / stepSeconds : 0
    }

    /// The mean over the ranks.
    package var bubbleFraction: Double {
        ranks.reduce(0) { $0 + bubbleFraction($1) } / Double(max(1, ranks.count))
    }
}
