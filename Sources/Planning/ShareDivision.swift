import Plans

/// Ways to divide the samples of a micro-batch over the devices of a group, at least one each.
enum ShareDivision {
    /// Every division into positive whole shares, larger first shares first; nil when there are more than a limit.
    static func all(of sampleCount: Int, over count: Int, limit: Int) -> [[Int]]? {
        guard count > 1 else { return limit > 0 ? [[sampleCount]] : nil }
        var divisions: [[Int]] = []
        for share in stride(from: sampleCount - (count - 1), through: 1, by: -1) {
            guard
                let rest = all(
                    of: sampleCount - share, over: count - 1, limit: limit - divisions.count)
            else { return nil }
            divisions += rest.map { [share] + $0 }
        }
        return divisions
    }

    /// The divisions that the bounded searches try for a group that is to hold about the whole model: even, balanced in
    /// time, and in proportion to the budgets where all have one. Without duplicates.
    static func candidates(for kinds: [Int], _ costs: inout SearchCosts) -> [[Int]] {
        let even = StagePlan.evenShare(sampleCount: costs.microBatchSize, rankCount: kinds.count)
        guard kinds.contains(where: { $0 != kinds[0] }) else { return [even] }
        var found = [even]
        func add(_ shares: [Int]) { if !found.contains(shares) { found.append(shares) } }
        add(balanced(kinds, 0..<costs.layerCount, &costs))
        let budgets = kinds.map { costs.kinds.budgets[$0] }
        if !budgets.contains(.max) {
            add(proportional(to: budgets.map { Double($0) }, sampleCount: costs.microBatchSize))
        }
        return found
    }

    /// Shares in proportion to speed, then one sample at a time from the slowest device to the one that takes it best,
    /// as long as that makes the slowest faster.
    static func balanced(_ kinds: [Int], _ layers: Range<Int>, _ costs: inout SearchCosts) -> [Int] {
        func seconds(_ kind: Int, _ share: Int) -> Double {
            let seat = Seat(kind: kind, share: share)
            costs.prepare(seat)
            return costs.seconds(seat, layers)
        }
        let typical = max(1, costs.microBatchSize / kinds.count)
        var shares = proportional(
            to: kinds.map { 1 / max(seconds($0, typical), 1e-12) }, sampleCount: costs.microBatchSize)
        for _ in 0..<costs.microBatchSize {
            let times = zip(kinds, shares).map { seconds($0, $1) }
            let slowest = times.indices.max { times[$0] < times[$1] } ?? 0
            let more = zip(kinds, shares).map { seconds($0, min($1 + 1, costs.microBatchSize)) }
            let taker = more.indices.min { more[$0] < more[$1] } ?? 0
            guard taker != slowest, shares[slowest] > 1, more[taker] < times[slowest] else { break }
            shares[slowest] -= 1
            shares[taker] += 1
        }
        return shares
    }

    /// Positive whole shares near real ones: rounded down, and what is left to where most is missing.
    private static func proportional(to weights: [Double], sampleCount: Int) -> [Int] {
        let sum = weights.reduce(0, +)
        let ideal = weights.map { $0 / sum * Double(sampleCount) }
        var shares = ideal.map { max(1, Int($0)) }
        var left = sampleCount - shares.reduce(0, +)
        while left != 0 {
            let step = left.signum()
            // A share of 1 cannot give.
            let index = shares.indices.filter { step > 0 || shares[$0] > 1 }.max {
                Double(step) * (ideal[$0] - Double(shares[$0])) < Double(step)
                    * (ideal[$1] - Double(shares[$1]))
            }
            shares[index ?? 0] += step
            left -= step
        }
        return shares
    }
}
