/// A line of a rank's time line. Stretches on one lane follow each other or lie within each other.
public enum TraceLane: Int, Sendable, CaseIterable {
    /// What the main thread computes.
    case compute
    /// What the main thread sends, waits for and sums.
    case network
    /// What the I/O thread writes and reads.
    case cache

    /// As a trace viewer names it.
    public var title: String {
        switch self {
        case .compute: "compute"
        case .network: "network"
        case .cache: "cache I/O"
        }
    }
}

/// What a stretch of time was spent on.
public enum TraceCategory: String, Sendable, CaseIterable {
    case forward, backward, optimizer
    /// A whole step or epoch: the others lie within it.
    case step, epoch
    case evaluation, redistribution, save
    /// The main thread waits for the I/O thread.
    case cacheWait = "cache_wait"
    /// Handing a message over. Its flight is what the other side waits.
    case transfer
    /// Taking a message: the wait for it, and unpacking.
    case receive
    /// Waiting for another rank.
    case wait
    case allReduce = "all_reduce"
    case cacheWrite = "cache_write"
    case cacheRead = "cache_read"

    /// The lane that such stretches stand on.
    public var lane: TraceLane {
        switch self {
        case .forward, .backward, .optimizer, .step, .epoch, .evaluation, .redistribution, .save, .cacheWait:
            .compute
        case .transfer, .receive, .wait, .allReduce: .network
        case .cacheWrite, .cacheRead: .cache
        }
    }
}

/// What is known of a stretch beside its name.
public struct TraceArguments: Sendable, Equatable {
    /// From 1, as in `metrics.jsonl`.
    public var epoch: Int?
    /// From 1, as in `metrics.jsonl`.
    public var step: Int?
    /// The rank at the other end.
    public var peer: Int?
    public var bytes: Int?

    public init(epoch: Int? = nil, step: Int? = nil, peer: Int? = nil, bytes: Int? = nil) {
        self.epoch = epoch
        self.step = step
        self.peer = peer
        self.bytes = bytes
    }
}

/// One stretch of time of one rank: an action of the schedule, a message, a wait.
public struct TraceSpan: Sendable, Equatable {
    public var rank: Int
    public var lane: TraceLane
    /// An action's is its text in a schedule ("F0", "AR").
    public var name: String
    public var category: TraceCategory
    /// Seconds, from a moment that all stretches share.
    public var start: Double
    /// How long it lasted.
    public var seconds: Double
    public var arguments: TraceArguments

    /// - Parameter lane: nil takes the category's own.
    public init(
        rank: Int, lane: TraceLane? = nil, name: String, category: TraceCategory, start: Double,
        seconds: Double,
        arguments: TraceArguments = TraceArguments()
    ) {
        self.rank = rank
        self.lane = lane ?? category.lane
        self.name = name
        self.category = category
        self.start = start
        self.seconds = seconds
        self.arguments = arguments
    }

    public var end: Double { start + seconds }
}

/// Stretches of one origin: what was measured, or what a plan's prediction says of one mini-batch.
public struct TraceGroup: Sendable, Equatable {
    public enum Origin: String, Sendable, CaseIterable { case measured, predicted }

    public var origin: Origin
    /// What a viewer shows beside a rank ("host vm, stage 0"), by rank. A rank that stands here is in the file even without
    /// a stretch.
    public var labels: [Int: String]
    public var spans: [TraceSpan]

    public init(origin: Origin, labels: [Int: String] = [:], spans: [TraceSpan]) {
        self.origin = origin
        self.labels = labels
        self.spans = spans
    }

    /// All ranks of the group, ascending.
    public var ranks: [Int] { Set(labels.keys).union(spans.map(\.rank)).sorted() }
}
