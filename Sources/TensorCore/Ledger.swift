/// What a buffer is for. The ledger counts each category by itself.
public enum MemoryCategory: String, CaseIterable, Sendable {
    case weights, activations, gradients, optimizer, exchange, cache
}

/// The account of every buffer of this rank: live and peak bytes by category, and how many tape nodes were made.
///
/// One ledger belongs to one rank and is used from its main thread only.
public final class Ledger {
    public private(set) var liveBytes = [Int](repeating: 0, count: MemoryCategory.allCases.count)
    public private(set) var peakBytes = [Int](repeating: 0, count: MemoryCategory.allCases.count)
    public private(set) var peakTotalBytes = 0
    /// Tape nodes made since the ledger was: a frozen forward pass must not move it.
    public internal(set) var recordedNodeCount = 0

    /// Off during inference: then operations on trainable parameters record nothing either.
    public private(set) var isRecording = true

    /// What the rank is doing, for messages about memory that is lacking.
    public var activity: any CustomStringConvertible = ""

    /// Where large buffers come from.
    let blocks = BlockPool()

    private var totalBytes = 0
    private var budget = Int.max
    private var exceeded: ((BudgetOverrun) -> Never)?
    private var refused: ((RefusedAllocation) -> Never)?

    public init() {}

    /// Sets the bytes that may be live at once, from now on.
    ///
    /// - Parameter onOverrun: ends the run. It is called instead of an allocation that would go beyond the budget.
    public func enforce(budget: Int, onOverrun: @escaping (BudgetOverrun) -> Never) {
        self.budget = budget
        exceeded = onOverrun
    }

    /// Sets what ends the run when the system has no memory for a buffer. Without it the process is trapped.
    ///
    /// - Parameter onRefusal: is called where nothing in this process can go on; it should allocate little.
    public func onRefusal(_ onRefusal: @escaping (RefusedAllocation) -> Never) { refused = onRefusal }

    /// Bytes that may still be allocated.
    public var headroom: Int { budget - totalBytes }

    /// Live bytes of one category.
    public func live(_ category: MemoryCategory) -> Int { liveBytes[category.index] }

    /// Peak bytes of one category since the last `resetPeaks()`.
    public func peak(_ category: MemoryCategory) -> Int { peakBytes[category.index] }

    /// Starts a new phase: peaks fall to what is live now.
    public func resetPeaks() {
        peakBytes = liveBytes
        peakTotalBytes = totalBytes
        blocks.resetPeak()
    }

    /// Runs a forward pass that will have no backward: nothing is recorded and nothing saved.
    public func withoutRecording<Result>(_ body: () throws -> Result) rethrows -> Result {
        let before = isRecording
        isRecording = false
        defer { isRecording = before }
        return try body()
    }

    /// Enters bytes before they are allocated: those of a `Storage`, or of what no `Storage` owns, such as a buffer of the
    /// exchange or of the cache's reader.
    public func register(_ bytes: Int, _ category: MemoryCategory) {
        if totalBytes + bytes > budget {
            exceeded!(
                BudgetOverrun(
                    budget: budget, requested: bytes, category: category, liveBytes: liveBytes,
                    activity: activity.description))
        }
        let index = category.index
        liveBytes[index] += bytes
        totalBytes += bytes
        if liveBytes[index] > peakBytes[index] { peakBytes[index] = liveBytes[index] }
        if totalBytes > peakTotalBytes { peakTotalBytes = totalBytes }
    }

    /// Ends the run because the system has no memory for bytes that `register` has entered.
    func refuse(_ bytes: Int, _ category: MemoryCategory) -> Never {
        release(bytes, category)
        refused?(
            RefusedAllocation(
                requested: bytes, category: category, liveBytes: liveBytes, activity: activity.description))
        fatalError("out of memory: \(bytes) bytes for \(category.rawValue)")
    }

    /// Takes back what `register` entered.
    public func release(_ bytes: Int, _ category: MemoryCategory) {
        liveBytes[category.index] -= bytes
        totalBytes -= bytes
    }
}

/// An allocation that would have gone beyond the budget.
public struct BudgetOverrun: Sendable {
    public let budget: Int
    /// Bytes asked for, and what for.
    public let requested: Int
    public let category: MemoryCategory
    /// Bytes of each category at that moment, in the order of `MemoryCategory.allCases`.
    public let liveBytes: [Int]
    public let activity: String
}

/// An allocation for which the system had no memory.
public struct RefusedAllocation: Sendable {
    /// Bytes asked for, and what for.
    public let requested: Int
    public let category: MemoryCategory
    /// Bytes of each category at that moment, in the order of `MemoryCategory.allCases`.
    public let liveBytes: [Int]
    public let activity: String
}

extension MemoryCategory {
    /// The position in `allCases`.
    public var index: Int {
        switch self {
        case .weights: 0
        case .activations: 1
        case .gradients: 2
        case .optimizer: 3
        case .exchange: 4
        case .cache: 5
        }
    }
}
