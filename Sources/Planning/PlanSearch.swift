import Plans
import Support

/// The search of the exact planner: the best plan found for each number of stages, by F.
///
/// For each micro-batch count a `CoverSearch` finds plans for bounds on the bottleneck, from the least possible to the
/// largest that can still improve F. A small instance (`ExactSearch.largestPlanCount`) is then solved to the optimum by
/// `ExactSearch`. On a larger one `DraftRefinement` improves the best plan found, after `DraftAnnealing` where devices
/// differ much.
struct PlanSearch {
    /// What plans may do.
    struct Freedom {
        var unevenShares = true
        var recompute = true
        /// Any order and subset of the devices; else all of them in the given order.
        var devices = true
    }

    private struct Found {
        var draft: Draft
        var step: Double
        var costs: SearchCosts
    }

    private let costs: StageCosts
    private let kinds: DeviceKinds
    private let freedom: Freedom
    private let stageCounts: ClosedRange<Int>
    private var best: [Found?]
    /// Whether there is time to price and refine every number of stages at every bound.
    private let isSmall: Bool

    /// With more kinds than this, classes are coarse or links uneven, so that each start is worth changing its devices.
    private static let fewKinds = 4
    private static let boundsPerSearch = 24
    private static let boundsPerLargeSearch = 10
    private static let firstAllowance = 1_000
    private static let variedAllowance = 20_000
    private static let shuffleCount = 12
    private static let lastAllowance = 12_000
    private static let lastCount = 3
    private static let annealedCount = 6
    private static let changeCount = 20_000

    /// - Parameter stageCounts: none above the number of ranks or layers.
    init(costs: StageCosts, kinds: DeviceKinds, stageCounts: ClosedRange<Int>, freedom: Freedom) {
        self.costs = costs
        self.kinds = kinds
        self.freedom = freedom
        self.stageCounts = stageCounts
        best = Array(repeating: nil, count: stageCounts.upperBound + 1)
        isSmall = stageCounts.upperBound <= 16 && kinds.kinds.count <= 64
    }

    /// The best plan found for each number of stages, without predictions; nil at the numbers that have none.
    mutating func plans(miniBatchSize: Int, microBatchCounts: [Int]) -> [Plan?] {
        var isProven = true
        // Many micro-batches make the best pipelines, and a good plan early saves work on the others.
        for count in microBatchCounts.reversed() {
            let costs = SearchCosts(
                costs: costs, kinds: kinds, microBatchCount: count, microBatchSize: miniBatchSize / count,
                recomputeAllowed: freedom.recompute)
            let exact =
                freedom.devices
                ? ExactSearch(
                    costs, stageCount: stageCounts.upperBound, evenShares: !freedom.unevenShares) : nil
            searchBounds(costs, refine: exact == nil && isSmall)
            if let exact { searchExactly(exact) } else { isProven = false }
        }
        if !isProven { refineBest() }
        return best.map { found in found.map { $0.costs.plan($0.draft) } }
    }

    private mutating func searchExactly(_ exact: ExactSearch) {
        for stageCount in stageCounts {
            let limit = best[stageCount]?.step ?? .infinity
            if let found = exact.best(stageCount: stageCount, below: limit) {
                best[stageCount] = Found(draft: found.draft, step: found.step, costs: exact.costs)
            }
        }
    }

    // MARK: - Bounds on the bottleneck

    /// The graphs to search: the devices in any order by class if that is few enough; where classes would be coarse, the
    /// given order and some others as well.
    private func graphs(_ costs: SearchCosts) -> [DeviceGraph] {
        let profile = costs.costs.profile
        let limit = min(
            costs.microBatchSize, kinds.kinds.count - (freedom.devices ? 0 : stageCounts.lowerBound - 1))
        func graph(_ order: [Int]) -> DeviceGraph {
            DeviceGraph(
                order: order, kinds: kinds, profile: profile, tolerance: isSmall ? 0 : 0.05,
                groupSizeLimit: limit, useAll: !freedom.devices)
        }
        guard freedom.devices else { return [graph(kinds.kinds)] }
        var graphs: [DeviceGraph] = []
        for tolerance in [0, 0.05, 0.15, 0.3, 0.5] where graphs.isEmpty {
            let graph = DeviceGraph(
                anyOrder: kinds, profile: profile, tolerance: tolerance, groupSizeLimit: limit)
            if let graph {
                if tolerance <= 0.05 { return [graph] }
                graphs.append(graph)
            }
        }
        // Classes are numbered as they first appear, so this order brings equal devices together.
        let classes = kinds.classes(profile: profile, tolerance: 0.15)
        let sorted = kinds.kinds.enumerated().sorted {
            (classes[$0.element], $0.offset) < (classes[$1.element], $1.offset)
        }.map(\.element)
        var orders = sorted == kinds.kinds ? [sorted] : [kinds.kinds, sorted]
        if isSmall {
            // Coarse classes hide what devices differ in; chance finds some of the orders that show it.
            orders += (0..<Self.shuffleCount).map { shuffle in
                CounterRandom(UInt64(shuffle)).permutation(count: sorted.count).map { sorted[$0] }
            }
        }
        return graphs + orders.map(graph)
    }

    private mutating func searchBounds(_ costs: SearchCosts, refine: Bool) {
        var local: [Int: Found] = [:]
        for graph in graphs(costs) {
            var cover = CoverSearch(
                costs, graph: graph, stageCount: stageCounts.upperBound, evenShares: !freedom.unevenShares)
            search(&cover, costs.microBatchCount, &local)
        }
        let least = (best.compactMap { $0?.step } + local.values.map(\.step)).min() ?? .infinity
        for stageCount in local.keys.sorted() {
            guard var found = local[stageCount] else { continue }
            if refine {
                let isVaried = kinds.count > Self.fewKinds && freedom.devices && found.step < 1.3 * least
                Self.refine(
                    &found, freedom: freedom, devices: isVaried,
                    allowance: isVaried ? Self.variedAllowance : Self.firstAllowance)
            }
            keep(found)
        }
    }

    private mutating func keep(_ found: Found) {
        let stageCount = found.draft.stageCount
        if found.step < best[stageCount]?.step ?? .infinity { best[stageCount] = found }
    }

    private func search(_ cover: inout CoverSearch, _ microBatchCount: Int, _ local: inout [Int: Found]) {
        let everyStage = stageCounts.upperBound
        let known = (best.compactMap { $0?.step } + local.values.map(\.step)).min() ?? .infinity
        // F is at least M times its bottleneck.
        var high = min(cover.largestSeconds(), known / Double(microBatchCount))
        guard cover.run(bound: high, extra: everyStage) != nil else { return }
        price(&cover, &local)
        let extra = isSmall ? everyStage : 1
        var (low, infeasible) = (high, high / 1e5)
        while low > infeasible * (isSmall ? 1.03 : 1.08) {
            let middle = (low * infeasible).squareRoot()
            if cover.run(bound: middle, extra: extra) == nil {
                infeasible = middle
            } else {
                low = middle
                price(&cover, &local)
            }
        }
        if !isSmall, cover.run(bound: low, extra: everyStage) != nil { price(&cover, &local) }
        high = min(high, (local.values.map(\.step).min() ?? .infinity) / Double(microBatchCount))
        // Plans of all devices are wanted as a comparison only.
        guard high > low, isSmall || freedom.devices else { return }
        // Denser near the least bottleneck, where most good pipelines are.
        let count = isSmall ? Self.boundsPerSearch : Self.boundsPerLargeSearch
        for index in 0..<count {
            let part = Double(index) / Double(count)
            let bound = low + (high - low) * part * part
            if cover.run(bound: bound, extra: extra) != nil { price(&cover, &local) }
        }
    }

    /// Prices what the last run found; where stages are many, only the least number and the next.
    private func price(_ cover: inout CoverSearch, _ local: inout [Int: Found]) {
        for stageCount in stageCounts.lowerBound...max(stageCounts.lowerBound, cover.completed) {
            guard let draft = cover.draft(stageCount: stageCount) else { continue }
            // A long list of stages is priced where it is new or the shortest.
            if !isSmall, local[stageCount] != nil, cover.draft(stageCount: stageCount - 1) != nil { continue }
            cover.prepare(draft)
            let step = cover.costs.step(draft)
            if step < local[stageCount]?.step ?? .infinity {
                local[stageCount] = Found(draft: draft, step: step, costs: cover.costs)
            }
        }
    }

    // MARK: - Refinement

    private mutating func refineBest() {
        let order = best.indices.filter { best[$0] != nil }.sorted {
            (best[$0]?.step ?? 0, $0) < (best[$1]?.step ?? 0, $1)
        }
        let isVaried = kinds.count > Self.fewKinds && isSmall && freedom.devices
        for stageCount in order.prefix(isVaried ? Self.annealedCount : Self.lastCount) {
            guard var found = best[stageCount] else { continue }
            if isVaried {
                var annealing = DraftAnnealing(
                    found.draft, step: found.step, costs: found.costs,
                    freedom: .init(devices: true, shares: freedom.unevenShares))
                annealing.run(changeCount: Self.changeCount)
                found = Found(draft: annealing.best, step: annealing.step, costs: annealing.costs)
            }
            Self.refine(
                &found, freedom: freedom, devices: freedom.devices, allowance: Self.lastAllowance)
            keep(found)
        }
    }

    private static func refine(_ found: inout Found, freedom: Freedom, devices: Bool, allowance: Int) {
        var refinement = DraftRefinement(
            found.draft, step: found.step, costs: found.costs,
            freedom: .init(devices: devices, shares: freedom.unevenShares), allowance: allowance)
        let draft = refinement.run()
        found = Found(draft: draft, step: refinement.step, costs: refinement.costs)
    }
}
