/// The search of the exact planner: the best plan found for each number of stages, by F.
///
/// For each micro-batch count a `CoverSearch` finds plans for bounds on the bottleneck between the least that is possible
/// and the most that can pay. Where an instance is small enough (`ExactSearch.largestPlanCount`), `ExactSearch` goes on
/// from the best of them and ends with the optimum; elsewhere `DraftRefinement` does, and ends with the best plan found.
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

    private static let boundsPerSearch = 24
    private static let boundsPerLargeSearch = 10
    private static let firstAllowance = 1_000
    private static let lastAllowance = 12_000
    private static let lastCount = 3

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

    /// The graphs to search: the devices by class in any order if that is few enough, else the given order and two others.
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
        for tolerance in [0, 0.05, 0.15, 0.3] {
            let graph = DeviceGraph(
                anyOrder: kinds, profile: profile, tolerance: tolerance, groupSizeLimit: limit)
            if let graph { return [graph] }
        }
        // Classes are numbered as they first appear, so this order brings equal devices together.
        let classes = kinds.classes(profile: profile, tolerance: 0.15)
        let sorted = kinds.kinds.enumerated().sorted {
            (classes[$0.element], $0.offset) < (classes[$1.element], $1.offset)
        }.map(\.element)
        guard sorted != kinds.kinds else { return [graph(kinds.kinds)] }
        return [graph(kinds.kinds), graph(sorted)]
    }

    private mutating func searchBounds(_ costs: SearchCosts, refine: Bool) {
        var local: [Int: Found] = [:]
        for graph in graphs(costs) {
            var cover = CoverSearch(
                costs, graph: graph, stageCount: stageCounts.upperBound, evenShares: !freedom.unevenShares)
            search(&cover, costs.microBatchCount, &local)
        }
        for stageCount in local.keys.sorted() {
            guard var found = local[stageCount] else { continue }
            if refine {
                Self.refine(&found, freedom: freedom, devices: false, allowance: Self.firstAllowance)
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
        for stageCount in order.prefix(Self.lastCount) {
            guard var found = best[stageCount] else { continue }
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
