import Plans

/// The least F of all plans whatsoever, by trying them: every subset and order of the ranks, every division of the layers
/// and of the micro-batch, recomputation or not in every stage. Written down without a look at how the planner searches.
struct EveryPlan {
    private struct Group {
        var ranks: [Int]
        var shares: [Int]
        var mask: Int
    }

    private struct Message {
        var from: Int
        var to: Int
        var rows: Double
    }

    private struct Cost {
        var forward: Double
        var backward: Double
        var both: Double
        var allReduce: Double
        /// The most micro-batches in flight that fit every rank's budget.
        var mostInFlight: Int
    }

    private let profile: Profile
    private let stageCosts: StageCosts
    private let microBatchCount: Int
    private let layerCount: Int
    private var groups: [Group] = []
    /// `[group][first][end][recompute]`
    private var costs: [[[[Cost]]]] = []
    /// By pair of groups, once they are needed.
    private var messages: [Int: [Message]] = [:]
    private var best = Double.infinity

    /// - Parameter zeroShares: also ranks without samples.
    init(profile: Profile, microBatchCount: Int, microBatchSize: Int, zeroShares: Bool) {
        self.profile = profile
        stageCosts = StageCosts(profile: profile)
        self.microBatchCount = microBatchCount
        layerCount = profile.layers.count
        for ranks in Self.arrangements(Array(profile.devices.indices)) {
            for shares in Self.divisions(microBatchSize, ranks.count, atLeast: zeroShares ? 0 : 1) {
                groups.append(
                    Group(ranks: ranks, shares: shares, mask: ranks.reduce(0) { $0 | 1 << $1 }))
            }
        }
        // t_f and t_b of one layer.
        let forward = table(microBatchSize, profile.forwardSeconds)
        let backward = table(microBatchSize, profile.backwardSeconds)
        costs = groups.map { group in
            (0..<layerCount).map { first in
                (0...layerCount).map { end in
                    guard end > first else { return [] }
                    return [false, true].map { cost(group, first..<end, $0, forward, backward) }
                }
            }
        }
    }

    /// All ordered selections of at least one.
    private static func arrangements(_ items: [Int]) -> [[Int]] {
        items.flatMap { item in
            [[item]] + arrangements(items.filter { $0 != item }).map { [item] + $0 }
        }
    }

    private static func divisions(_ total: Int, _ parts: Int, atLeast least: Int) -> [[Int]] {
        guard parts > 1 else { return total >= least ? [[total]] : [] }
        guard total >= least else { return [] }
        return (least...total).flatMap { share in
            divisions(total - share, parts - 1, atLeast: least).map { [share] + $0 }
        }
    }

    private func table(_ sampleCount: Int, _ seconds: (Int, Int, Double) -> Double) -> [[[Double]]] {
        profile.devices.indices.map { rank in
            (0..<layerCount).map { layer in (0...sampleCount).map { seconds(rank, layer, Double($0)) } }
        }
    }

    private func bytesPerSample(_ bytes: TokenCounts) -> Double {
        bytes.source * profile.meanTokens.source + bytes.target * profile.meanTokens.target
    }

    private func cost(
        _ group: Group, _ layers: Range<Int>, _ recompute: Bool, _ forward: [[[Double]]],
        _ backward: [[[Double]]]
    ) -> Cost {
        var cost = Cost(forward: 0, backward: 0, both: 0, allReduce: 0, mostInFlight: microBatchCount)
        for (rank, share) in zip(group.ranks, group.shares) {
            let f = layers.map { forward[rank][$0][share] }.reduce(0, +)
            let b = layers.map { backward[rank][$0][share] }.reduce(0, +) + (recompute ? f : 0)
            cost.forward = max(cost.forward, f)
            cost.backward = max(cost.backward, b)
            cost.both = max(cost.both, f + b)
            // The memory model has tests of its own.
            let budget = profile.devices[rank].memoryBudgetBytes ?? .max
            while cost.mostInFlight > 0,
                stageCosts.peakBytes(
                    layers: layers, share: share, inFlightCount: cost.mostInFlight, recompute: recompute,
                    microBatch: (group.shares.reduce(0, +), microBatchCount)) > budget
            {
                cost.mostInFlight -= 1
            }
        }
        let trainable = Double(profile.layers[layers].map(\.trainableBytes).reduce(0, +))
        let g = Double(group.ranks.count)
        if g > 1 && trainable > 0 {
            var worst = 0.0
            for a in group.ranks {
                for b in group.ranks where a != b {
                    let link = profile.link(a, b)
                    worst = max(worst, link.latencySeconds + trainable / g / link.bandwidth)
                }
            }
            cost.allReduce = 2 * (g - 1) * worst
        }
        return cost
    }

    /// Seconds of the busiest rank.
    private mutating func transfer(_ a: Int, _ b: Int, _ bytes: Double) -> Double {
        let pair = a * groups.count + b
        let messages = messages[pair] ?? messagesBetween(groups[a], groups[b])
        self.messages[pair] = messages
        var busy = [Double](repeating: 0, count: profile.devices.count)
        for message in messages {
            let link = profile.link(message.from, message.to)
            let seconds = link.latencySeconds + message.rows * bytes / link.bandwidth
            busy[message.from] += seconds
            busy[message.to] += seconds
        }
        return busy.max()!
    }

    /// Row by row: who has it, who needs it.
    private func messagesBetween(_ a: Group, _ b: Group) -> [Message] {
        let from = zip(a.ranks, a.shares).flatMap { Array(repeating: $0, count: $1) }
        let to = zip(b.ranks, b.shares).flatMap { Array(repeating: $0, count: $1) }
        return a.ranks.flatMap { x in
            b.ranks.compactMap { y in
                let rows = zip(from, to).filter { $0 == x && $1 == y }.count
                return rows > 0 ? Message(from: x, to: y, rows: Double(rows)) : nil
            }
        }
    }

    /// The least F with so many stages; infinity when no plan fits.
    mutating func least(stageCount: Int) -> Double {
        best = .infinity
        place(0, stageCount, 0, nil, way: 0, backwardWay: 0, slowest: 0, left: 0)
        return best
    }

    private mutating func place(
        _ first: Int, _ parts: Int, _ mask: Int, _ previous: Int?, way: Double,
        backwardWay: Double, slowest: Double, left: Double
    ) {
        let rounds = Double(microBatchCount - 1)
        guard layerCount - first >= parts else { return }
        for index in groups.indices where groups[index].mask & mask == 0 {
            var (cf, cb) = (0.0, 0.0)
            if let previous {
                let boundary = profile.layers[first - 1]
                cf = transfer(previous, index, bytesPerSample(boundary.forwardBytesPerToken))
                cb = transfer(previous, index, bytesPerSample(boundary.backwardBytesPerToken))
            }
            // Times are not negative: what is already as slow as the best cannot become better.
            guard way + cf + cb + rounds * max(slowest, cf + cb) < best else { continue }
            for end in first + 1...layerCount where (parts == 1) == (end == layerCount) {
                for cost in costs[index][first][end] {
                    guard min(microBatchCount, parts) <= cost.mostInFlight else { continue }
                    let longer = way + cf + cb + cost.forward + cost.backward
                    let slower = max(slowest, cf + cb, cost.both)
                    let remains = max(left, cost.allReduce - backwardWay - cb)
                    guard longer + rounds * slower + remains < best else { continue }
                    if parts == 1 {
                        best = longer + rounds * slower + remains
                    } else {
                        place(
                            end, parts - 1, mask | groups[index].mask, index, way: longer,
                            backwardWay: backwardWay + cb + cost.backward, slowest: slower, left: remains)
                    }
                }
            }
        }
    }
}
