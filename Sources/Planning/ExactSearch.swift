import Plans

/// Finds the draft with the least F for a number of stages by branch and bound, from the first stage to the last.
///
/// It considers every order of devices, every subset, every division of the layers, every division of a micro-batch into
/// positive whole shares, and recomputation. What it leaves out cannot be better: a device without samples only makes the
/// all-reduce longer, and recomputing where memory suffices only takes time.
///
/// The bound: the least sum and the least bottleneck that the remaining layers can have on the remaining devices, each by
/// itself and with links as short as any, from a recursion over the counts of kinds.
struct ExactSearch {
    /// The most plans among which this search is used, and the most entries of its tables.
    static let largestPlanCount = 1e8
    private static let largestTableSize = 600_000

    /// An ordered group with shares, and where in the counts of kinds its devices stand.
    private struct Variant {
        var seats: [Seat]
        var use: Int
    }

    let costs: SearchCosts
    private let layerCount: Int
    private let largestStageCount: Int
    /// Of each node, how many devices of each kind are free; a node is their mixed-radix number.
    private let free: [[Int]]
    private let variants: [Variant]
    /// Indices of the variants that a node's devices can form.
    private let choices: [[Int]]
    /// `[variant][range][parts from the end, from 1, up to the largest number in flight]`
    private var stages: [SearchCosts.Stage?]
    private let inFlightLimit: Int
    /// `[parts][node][first layer]`: bounds for what remains.
    private var leastSum: [Double]
    private var leastBottleneck: [Double]
    private let leastLink: [Double]

    /// - Parameters:
    ///   - stageCount: the largest number of stages that will be asked for.
    ///   - evenShares: whether shares must be as even as whole samples allow.
    /// - Returns: nil when there are more plans than this search is for.
    init?(_ base: SearchCosts, stageCount: Int, evenShares: Bool) {
        var costs = base
        let counts = costs.kinds.ranks.map(\.count)
        layerCount = costs.layerCount
        largestStageCount = stageCount
        inFlightLimit = min(costs.microBatchCount, stageCount)
        let nodeCount = counts.reduce(1) { min($0 * ($1 + 1), 1 << 20) }
        guard nodeCount <= 64 else { return nil }
        let rangeCount = layerCount * (layerCount + 1) / 2
        guard
            let variants = Self.variants(
                counts, microBatchSize: costs.microBatchSize, evenShares: evenShares,
                limit: Self.largestTableSize / (rangeCount * inFlightLimit))
        else { return nil }
        let free = (0..<nodeCount).map { Self.digits($0, counts) }
        let choices = free.map { free in
            variants.indices.filter { index in
                zip(free, Self.digits(variants[index].use, counts)).allSatisfy { $0 >= $1 }
            }
        }
        guard
            Self.planCount(variants.map(\.use), choices, layerCount: layerCount, stageCount: stageCount)
                <= Self.largestPlanCount
        else { return nil }
        for seat in variants.map(\.seats).joined() { costs.prepare(seat) }
        self.costs = costs
        self.free = free
        self.variants = variants
        self.choices = choices
        let groupSize = max(1, min(costs.microBatchSize, counts.reduce(0, +) - 1))
        leastLink = (0..<layerCount).map {
            $0 == 0 ? 0 : base.leastTransferSeconds(before: $0, groupSize: groupSize)
        }
        stages = []
        leastSum = []
        leastBottleneck = []
        fillStages(rangeCount)
        fillBounds()
    }

    private static func digits(_ node: Int, _ counts: [Int]) -> [Int] {
        var rest = node
        return counts.map { count in
            defer { rest /= count + 1 }
            return rest % (count + 1)
        }
    }

    /// Every ordered group with every division of the micro-batch; nil when there are too many.
    private static func variants(
        _ counts: [Int], microBatchSize: Int, evenShares: Bool, limit: Int
    ) -> [Variant]? {
        var found: [Variant] = []
        let weights = counts.indices.map { counts[..<$0].reduce(1) { $0 * ($1 + 1) } }
        func extend(_ kinds: [Int], _ free: [Int]) -> Bool {
            for kind in free.indices where free[kind] > 0 {
                let group = kinds + [kind]
                guard group.count <= microBatchSize else { return true }
                let use = group.reduce(0) { $0 + weights[$1] }
                let divisions =
                    evenShares
                    ? [StagePlan.evenShare(sampleCount: microBatchSize, rankCount: group.count)]
                    : ShareDivision.all(of: microBatchSize, over: group.count, limit: limit - found.count)
                guard let divisions, found.count + divisions.count <= limit else { return false }
                for shares in divisions {
                    found.append(
                        Variant(seats: zip(group, shares).map { Seat(kind: $0, share: $1) }, use: use))
                }
                var rest = free
                rest[kind] -= 1
                guard extend(group, rest) else { return false }
            }
            return true
        }
        return extend([], counts) ? found : nil
    }

    /// How many plans there are, as a real number.
    private static func planCount(_ uses: [Int], _ choices: [[Int]], layerCount: Int, stageCount: Int)
        -> Double
    {
        // Sequences of disjoint groups by their number, times the ways to cut the layers.
        var sequences = [Double](repeating: 1, count: choices.count)
        var cuts = 1.0
        var total = 0.0
        for parts in 1...min(stageCount, layerCount) {
            sequences = choices.indices.map { node in
                choices[node].reduce(0) { $0 + sequences[node - uses[$1]] }
            }
            total += sequences[choices.count - 1] * cuts
            cuts *= Double(layerCount - parts) / Double(parts)
        }
        return total
    }

    private func range(_ first: Int, _ end: Int) -> Int {
        // Ranges that begin at `first` follow those that begin before it.
        first * layerCount - first * (first - 1) / 2 + (end - first - 1)
    }

    private mutating func fillStages(_ rangeCount: Int) {
        stages.reserveCapacity(variants.count * rangeCount * inFlightLimit)
        for variant in variants {
            for first in 0..<layerCount {
                for end in first + 1...layerCount {
                    for parts in 1...inFlightLimit {
                        stages.append(costs.stage(first..<end, variant.seats, partsFromEnd: parts))
                    }
                }
            }
        }
    }

    private func stage(_ variant: Int, _ first: Int, _ end: Int, _ parts: Int) -> SearchCosts.Stage? {
        let ranges = layerCount * (layerCount + 1) / 2
        return stages[(variant * ranges + range(first, end)) * inFlightLimit + min(parts, inFlightLimit) - 1]
    }

    private func bound(_ parts: Int, _ node: Int, _ layer: Int) -> Int {
        (parts * free.count + node) * (layerCount + 1) + layer
    }

    private mutating func fillBounds() {
        let size = (largestStageCount + 1) * free.count * (layerCount + 1)
        leastSum = Array(repeating: .infinity, count: size)
        leastBottleneck = leastSum
        for node in free.indices {
            leastSum[bound(0, node, layerCount)] = 0
            leastBottleneck[bound(0, node, layerCount)] = 0
        }
        let uses = Set(variants.map(\.use)).sorted()
        let byUse = Dictionary(grouping: variants.indices) { variants[$0].use }
        for parts in 1...largestStageCount {
            for use in uses {
                let members = byUse[use] ?? []
                let nodes = free.indices.filter { node in choices[node].contains { variants[$0].use == use } }
                for first in 0..<layerCount {
                    for end in first + 1...layerCount where (parts == 1) == (end == layerCount) {
                        var (sum, both) = (Double.infinity, Double.infinity)
                        for member in members {
                            guard let stage = stage(member, first, end, parts) else { continue }
                            sum = min(sum, stage.forward + stage.backward)
                            both = min(both, stage.both)
                        }
                        guard sum < .infinity else { continue }
                        let link = end < layerCount ? leastLink[end] : 0
                        for node in nodes {
                            let rest = bound(parts - 1, node - use, end)
                            let here = bound(parts, node, first)
                            leastSum[here] = min(leastSum[here], sum + link + leastSum[rest])
                            leastBottleneck[here] = min(
                                leastBottleneck[here], max(both, link, leastBottleneck[rest]))
                        }
                    }
                }
            }
        }
    }

    /// Where the search stands: the stages chosen so far, from the first.
    private struct Path {
        var draft = Draft(bounds: [0], groups: [])
        var way = 0.0
        var backwardWay = 0.0
        var slowest = 0.0
        var allReduceLeft = 0.0
    }

    /// The best draft with exactly so many stages, if its F is below `limit`.
    func best(stageCount: Int, below limit: Double) -> (draft: Draft, step: Double)? {
        var best: (draft: Draft, step: Double)?
        var least = limit
        extend(Path(), nil, stageCount, free.count - 1) { draft, step in
            best = (draft, step)
            least = step
        } least: {
            least
        }
        return best
    }

    private func extend(
        _ path: Path, _ previous: Int?, _ parts: Int, _ node: Int, found: (Draft, Double) -> Void,
        least: () -> Double
    ) {
        let first = path.draft.bounds[path.draft.bounds.count - 1]
        let rounds = Double(costs.microBatchCount - 1)
        for variant in choices[node] {
            let seats = variants[variant].seats
            var (linkSeconds, linkBackward) = (0.0, 0.0)
            if let previous {
                let link = costs.transferSeconds(before: first, variants[previous].seats, seats)
                (linkSeconds, linkBackward) = (link.forward + link.backward, link.backward)
            }
            let next = node - variants[variant].use
            let ends = parts == 1 ? layerCount...layerCount : first + 1...layerCount - (parts - 1)
            for end in ends {
                let rest = bound(parts - 1, next, end)
                guard leastSum[rest] < .infinity, let stage = stage(variant, first, end, parts) else {
                    continue
                }
                let nextLink = parts > 1 ? leastLink[end] : 0
                let way = path.way + linkSeconds + stage.forward + stage.backward
                let slowest = max(path.slowest, linkSeconds, stage.both)
                let left = max(path.allReduceLeft, stage.allReduce - path.backwardWay - linkBackward)
                let bottleneck = max(slowest, nextLink, leastBottleneck[rest])
                guard way + nextLink + leastSum[rest] + rounds * bottleneck + left < least() else { continue }
                var longer = path
                longer.draft.bounds.append(end)
                longer.draft.groups.append(seats)
                if parts == 1 {
                    found(longer.draft, way + rounds * slowest + left)
                } else {
                    longer.way = way
                    longer.backwardWay += linkBackward + stage.backward
                    longer.slowest = slowest
                    longer.allReduceLeft = left
                    extend(longer, variant, parts - 1, next, found: found, least: least)
                }
            }
        }
    }
}
