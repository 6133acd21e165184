/// The cores of a host that has fewer of them than ranks: whoever computes at a time shares them evenly.
///
/// A profile is taken by all ranks at once, so its seconds are those of a full house; with fewer ranks at work each is
/// faster, up to a core of its own.
struct SharedProcessor {
    private let coreCount: Int
    private let rankCount: Int
    /// Who computes, and the seconds that it still needs on a core of its own.
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

    /// Who ends first if nobody else begins, and when; ties in the order in which they began.
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
