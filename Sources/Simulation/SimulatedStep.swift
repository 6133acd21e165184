/// One mini-batch as it was simulated.
public struct SimulatedStep: Sendable, Equatable {
    public enum Lane: String, Sendable { case compute, network }

    /// Something that took time on one rank.
    public struct Span: Sendable, Equatable {
        public var rank: Int
        public var lane: Lane
        /// The action as `PipelineAction` writes it. A message is its sender's.
        public var name: String
        /// Seconds since the mini-batch began.
        public var start: Double
        public var seconds: Double
    }

    public struct Rank: Sendable, Equatable {
        public var rank: Int
        public var stage: Int
        /// Computing, the optimizer's step included.
        public var busySeconds: Double
        /// The most micro-batches between forward and backward.
        public var peakInFlightCount: Int
        public var peakBytes: Int
    }

    /// Until the last rank has stepped its optimizer.
    public var stepSeconds: Double
    /// The ranks of the plan, by stage.
    public var ranks: [Rank]
    public var spans: [Span]

    /// The share of the step in which a rank does not compute.
    public func bubbleFraction(_ rank: Rank) -> Double {
        stepSeconds > 0 ? 1 - rank.busySeconds / stepSeconds : 0
    }

    /// The mean over the ranks.
    public var bubbleFraction: Double {
        ranks.reduce(0) { $0 + bubbleFraction($1) } / Double(max(1, ranks.count))
    }
}
