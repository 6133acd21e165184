/// The cores of a host with more ranks than cores: the ranks that compute at a time share them evenly.
///
/// All ranks are profiled at once, so a profile's seconds hold while all compute. With fewer ranks computing each is faster,
/// up to a core of its own.
struct SharedProcessor {
    private let coreCount: Int
    private let rankCount: Int
    /// The ranks that compute, and the seconds that each still needs on a core of its own.
    private var jobs: [(worker: Int, remaining: Double)] = []
    private var time = 0.0

    init(coreCount: Int, rankCount: Int) {
        precondition(0 < coreCount && coreCount < rankCount, "ranks with a core each do not share")
        (self.coreCount, self.rankCount) = (coreCount, rankCount)
    }

    /// Begins work that takes `seconds` while all ranks of the host compute, not before anything that began earlier.
    mutating func begin(_ worker: Int, seconds: Double, at time: Double) {
        advance(to: time)
        jobs.append((worker, seconds * Double(coreCount) / Double(rankCount)))
    }

    /// The rank that ends first if no other begins, and when; ties in the order in which they began.
    var firstEnd: (worker: Int, time: Double)? {
        jobs.min { $0.remaining < $1.remaining }.map { ($0.worker, time + max(0, $0.remaining) / rate) }
    }

    /// Takes away the one that ends first.
    mutating func end() {
        guard let first = firstEnd else { return }
        advance(to: first.time)
        jobs.removeAll { $0.worker == first.worker }
    }

    private var rate: Double { min(1, Double(coreCount) / Double(max(1, jobs.count))) }

    private mutating func advance(to time: Double) {
        let done = (time - self.time) * rate
        for index in jobs.indices { jobs[index].remaining -= done }
        self.time = time
    }
}
