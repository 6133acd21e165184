import Plans
import Support

/// Chooses a plan from a profile (section 5.1 of the paper). Pure: the same profile gives the same plan.
///
/// `paper` is eq. (2) to (6) as printed: for each number of stages S and each micro-batch count M the recursion finds the
/// division of the layers and of all ranks in their given order with the smallest slowest stage, with shares as even as
/// whole samples allow; eq. (6) chooses among them.
///
/// `exact` looks for the least step by `LatencyEstimate.bottleneck` within the memory budgets, over every S and M, every
/// order and subset of the ranks, every division of the layers, whole shares of any size, and recomputation for stages
/// that do not fit without. Its answer is the optimum where there are at most 100 million such plans for a micro-batch
/// count (`ExactSearch`), devices that can be exchanged for one another counted once: up to 8 layers on 5 different devices
/// with micro-batches of 6, say, or 26 layers on 4 with single samples. Beyond, it is the best plan found by bisection on
/// the bottleneck and local improvement, with similar devices treated as equal at first where there are many, and in the
/// given order where there are very many (`PlanSearch`).
///
/// | | `paper`, and `exact` with `givenOrder` | `exact` |
/// | --- | --- | --- |
/// | ranks | all, in the given order | any order and subset |
/// | shares | even | any |
/// | recomputation | no | where memory demands it |
package struct Planner: Sendable {
    /// What a plan of the exact planner may do with the ranks.
    package enum Freedom: Sendable {
        /// Reorder them, leave some out, give them uneven shares, let them recompute.
        case all
        /// Use all of them in their given order with even shares, as the paper's recursion does. The recursion then
        /// minimises the slowest stage or link for each S and M, and `LatencyEstimate.bottleneck` chooses among these.
        case givenOrder
    }

    package let kind: PlannerKind
    package let freedom: Freedom
    package let costs: StageCosts

    /// - Parameters:
    ///   - schedule: what fits and what a plan takes follow it; the exact planner's search ranks plans by the time of 1F1B.
    ///   - freedom: of the exact planner; the paper's has none.
    package init(
        kind: PlannerKind = .exact, profile: Profile, memory: MemoryModel = MemoryModel(),
        schedule: PipelineSchedule, freedom: Freedom = .all
    ) {
        self.kind = kind
        self.freedom = kind == .paper ? .givenOrder : freedom
        costs = StageCosts(profile: profile, memory: memory, schedule: schedule)
    }

    /// Finds the plan, with its prediction.
    ///
    /// - Parameters:
    ///   - microBatchCount: M; nil searches every divisor of the mini-batch size.
    ///   - ranks: the ordered set D that the plan may use; nil for every rank of the profile.
    ///   - stageCounts: the numbers of stages to consider; nil for 1 to the number of ranks.
    /// - Throws: a configuration failure when M does not divide the mini-batch size, when the paper's recursion is asked
    ///   for more than its tables can hold, or when no plan is feasible; then it says for each number of stages what is
    ///   missing.
    package func plan(
        miniBatchSize: Int, microBatchCount: Int? = nil, ranks: [Int]? = nil,
        stageCounts: ClosedRange<Int>? = nil
    ) throws -> Plan {
        try search(
            miniBatchSize: miniBatchSize, microBatchCount: microBatchCount, ranks: ranks,
            stageCounts: stageCounts
        ).get()
    }

    /// Does the same for a caller to whom the lack of a feasible plan is a result: it is the failure that is returned, and all
    /// else is thrown.
    package func search(
        miniBatchSize: Int, microBatchCount: Int? = nil, ranks: [Int]? = nil,
        stageCounts: ClosedRange<Int>? = nil
    ) throws -> Result<Plan, Failure> {
        let ranks = ranks ?? Array(costs.profile.devices.indices)
        let stageCounts = stageCounts ?? 1...ranks.count
        precondition(miniBatchSize > 0 && stageCounts.lowerBound > 0 && stageCounts.upperBound <= ranks.count)
        let request = PlanRequest(
            ranks: ranks, stageCounts: stageCounts, miniBatchSize: miniBatchSize,
            microBatchCounts: try Self.microBatchCounts(miniBatchSize, bound: microBatchCount))
        var best: [Int: Plan] = [:]
        var alternatives: [PlanAlternative] = []
        switch freedom {
        case .all: (best, alternatives) = freePlans(request)
        case .givenOrder: best = try givenOrderPlans(request)
        }
        // Of the numbers above the layers', one says it all.
        let considered = stageCounts.filter {
            $0 <= max(costs.profile.layers.count + 1, stageCounts.lowerBound)
        }
        let candidates = considered.map { candidate(best[$0], $0, request) }
        guard var chosen = fastest(best) else { return .failure(Self.infeasible(candidates)) }
        chosen.predicted?.considered = candidates
        chosen.predicted?.alternatives = alternatives
        return .success(chosen)
    }

    /// Prices a plan that is valid for the profile by this planner's estimate; nothing else is considered.
    package func prediction(of plan: Plan) -> Prediction {
        let stages = costs.predictions(of: plan)
        return Prediction(
            planner: kind,
            stepSeconds: kind.stepSeconds(
                stages, microBatchCount: plan.microBatchCount, schedule: costs.schedule),
            stages: stages, considered: [])
    }

    private static func microBatchCounts(_ miniBatchSize: Int, bound: Int?) throws -> [Int] {
        guard let bound else { return (1...miniBatchSize).filter { miniBatchSize % $0 == 0 } }
        guard bound > 0, miniBatchSize % bound == 0 else {
            throw Failure.configuration(
                "plan: expected a micro-batch count that divides the mini-batch size \(miniBatchSize), found \(bound)"
            )
        }
        return [bound]
    }

    // MARK: - Given order

    /// The plan with the smallest bottleneck for each number of stages and micro-batch count; the best count of each.
    private func givenOrderPlans(_ request: PlanRequest) throws -> [Int: Plan] {
        var best: [Int: Plan] = [:]
        let layerCount = costs.profile.layers.count
        guard request.stageCounts.lowerBound <= layerCount else { return best }
        let stageCounts = request.stageCounts.clamped(to: 1...layerCount)
        guard
            StageTable.isBuildable(
                layerCount: layerCount, deviceCount: request.ranks.count, stageCounts: stageCounts)
        else {
            throw Failure.configuration(
                "plan: expected fewer layers or ranks for a recursion over all runs of both, found \(layerCount) "
                    + "layers and \(request.ranks.count) ranks; the exact planner can plan them")
        }
        for count in request.microBatchCounts {
            let table = StageTable(
                costs: costs, ranks: request.ranks, microBatch: (request.miniBatchSize / count, count),
                stageCounts: stageCounts)
            let recursion = PartitionRecursion(
                layerCount: layerCount, deviceCount: request.ranks.count,
                partCount: stageCounts.upperBound, groupSizes: table.groupSizes,
                cost: { table.microBatchSeconds($0, $1, inFlightCount: inFlightCount($2, count)) },
                link: { kind == .exact ? table.linkSeconds(before: $0, $1, $2) : 0 })
            for stageCount in stageCounts {
                guard let division = recursion.best(partCount: stageCount) else { continue }
                let plan = priced(table.plan(division.parts, microBatchCount: count))
                if plan.isFaster(than: best[stageCount]) { best[stageCount] = plan }
            }
        }
        return best
    }

    // MARK: - Every freedom

    private func freePlans(_ request: PlanRequest) -> ([Int: Plan], [PlanAlternative]) {
        let layerCount = costs.profile.layers.count
        guard request.stageCounts.lowerBound <= layerCount else { return ([:], []) }
        let stageCounts = request.stageCounts.clamped(to: 1...layerCount)
        let kinds = DeviceKinds(profile: costs.profile, ranks: request.ranks)
        func search(_ freedom: PlanSearch.Freedom) -> [Plan] {
            var search = PlanSearch(costs: costs, kinds: kinds, stageCounts: stageCounts, freedom: freedom)
            return search.plans(
                miniBatchSize: request.miniBatchSize, microBatchCounts: request.microBatchCounts
            ).compactMap { $0.map(priced) }
        }
        var best: [Int: Plan] = [:]
        func keep(_ plans: [Plan]) {
            for plan in plans where plan.isFaster(than: best[plan.stages.count]) {
                best[plan.stages.count] = plan
            }
        }
        keep(search(.init()))
        var alternatives: [PlanAlternative] = []
        /// Compares a plainer way with the plan; if the plan's search was bounded, it may have missed it.
        func compare(_ name: String, _ plans: [Plan], reason: String) {
            keep(plans)
            let plan = plans.reduce(nil as Plan?) { $1.isFaster(than: $0) ? $1 : $0 }
            alternatives.append(
                PlanAlternative(name: name, outcome: plan.map(outcome) ?? .infeasible(reason: reason)))
        }
        if request.ranks.count > 1 {
            if stageCounts.lowerBound == 1 {
                let alone = fastestAlone(request, kinds)
                compare(
                    alone.map { "rank \($0.stages[0].ranks[0]) alone" } ?? "one device alone",
                    alone.map { [$0] } ?? [], reason: "no device can hold the whole model")
            }
            compare(
                "every device in the given order, even shares",
                search(.init(unevenShares: false, recompute: false, devices: false)),
                reason: "no such plan fits the memory budgets")
        }
        guard let chosen = fastest(best) else { return (best, []) }
        if chosen.stages.contains(where: { !$0.hasEvenShare }) {
            compare(
                "even shares", search(.init(unevenShares: false)),
                reason: "no such plan fits the memory budgets")
        }
        if chosen.stages.contains(where: \.recompute) {
            compare(
                "no recomputation", search(.init(recompute: false)),
                reason: "no such plan fits the memory budgets")
        }
        let step = fastest(best)?.predicted?.stepSeconds
        // What is as fast as the plan is the plan, or no reason to look further.
        return (best, alternatives.filter { $0.stepSeconds == nil || $0.stepSeconds != step })
    }

    private func fastestAlone(_ request: PlanRequest, _ kinds: DeviceKinds) -> Plan? {
        var best: Plan?
        for count in request.microBatchCounts {
            let size = request.miniBatchSize / count
            var costs = SearchCosts(
                costs: costs, kinds: kinds, microBatchCount: count, microBatchSize: size,
                recomputeAllowed: true)
            for kind in 0..<kinds.count {
                let seat = Seat(kind: kind, share: size)
                costs.prepare(seat)
                let draft = Draft(bounds: [0, costs.layerCount], groups: [[seat]])
                guard costs.step(draft) < best?.predicted?.stepSeconds ?? .infinity else { continue }
                best = priced(costs.plan(draft))
            }
        }
        return best
    }

    private func inFlightCount(_ stagesToEnd: Int, _ microBatchCount: Int) -> Int {
        costs.schedule.inFlightCount(stagesToEnd: stagesToEnd, microBatchCount: microBatchCount)
    }

    // MARK: - Outcomes

    private func priced(_ plan: Plan) -> Plan {
        var plan = plan
        plan.predicted = prediction(of: plan)
        return plan
    }

    /// The fastest plan, of equals the one with fewer stages.
    private func fastest(_ best: [Int: Plan]) -> Plan? {
        var chosen: Plan?
        for stageCount in best.keys.sorted() {
            if let plan = best[stageCount], plan.isFaster(than: chosen) { chosen = plan }
        }
        return chosen
    }

    private func outcome(_ plan: Plan) -> PlanCandidate.Outcome {
        let stages = plan.predicted?.stages ?? []
        return .feasible(
            microBatchCount: plan.microBatchCount, stepSeconds: plan.predicted?.stepSeconds ?? .infinity,
            bottleneckSeconds: kind.bottleneckSeconds(stages))
    }

    private func candidate(_ plan: Plan?, _ stageCount: Int, _ request: PlanRequest) -> PlanCandidate {
        PlanCandidate(
            stageCount: stageCount,
            outcome: plan.map(outcome) ?? .infeasible(reason: shortage(stageCount, request)))
    }

    /// Why no plan of so many stages is feasible: the recursion over the bytes that are missing finds the plan in the given
    /// order with even shares that comes closest, with the largest micro-batch count allowed.
    private func shortage(_ stageCount: Int, _ request: PlanRequest) -> String {
        let layerCount = costs.profile.layers.count
        guard stageCount <= layerCount else { return "the model has \(layerCount) layers only" }
        let count = request.microBatchCounts[request.microBatchCounts.count - 1]
        let general = "no plan found that fits the memory budgets"
        guard
            StageTable.isBuildable(
                layerCount: layerCount, deviceCount: request.ranks.count, stageCounts: stageCount...stageCount
            )
        else { return general }
        let table = StageTable(
            costs: costs, ranks: request.ranks, microBatch: (request.miniBatchSize / count, count),
            stageCounts: stageCount...stageCount, recompute: freedom == .all)
        let recursion = PartitionRecursion(
            layerCount: layerCount, deviceCount: request.ranks.count, partCount: stageCount,
            groupSizes: table.groupSizes,
            cost: { table.excessBytes($0, $1, inFlightCount: inFlightCount($2, count)) },
            link: { _, _, _ in 0 })
        guard let parts = recursion.best(partCount: stageCount)?.parts,
            let shortage = costs.memoryShortage(of: table.plan(parts, microBatchCount: count))
        else { return general }
        let noun = count == 1 ? "micro-batch" : "micro-batches"
        return "in the closest plan with \(count) \(noun), \(shortage)"
    }

    private static func infeasible(_ candidates: [PlanCandidate]) -> Failure {
        let reasons = candidates.compactMap { candidate in
            if case .infeasible(let reason) = candidate.outcome {
                return "\(candidate.stageCount) \(candidate.stageCount == 1 ? "stage" : "stages"): \(reason)"
            }
            return nil
        }
        return .configuration("plan: infeasible: " + reasons.joined(separator: "; "))
    }
}

/// What `Planner.plan` was asked for.
private struct PlanRequest {
    var ranks: [Int]
    var stageCounts: ClosedRange<Int>
    var miniBatchSize: Int
    /// Ascending.
    var microBatchCounts: [Int]
}

extension PlanAlternative {
    fileprivate var stepSeconds: Double? {
        if case .feasible(_, let seconds, _) = outcome { return seconds }
        return nil
    }
}

extension StagePlan {
    fileprivate var hasEvenShare: Bool { (share.max() ?? 0) - (share.min() ?? 0) <= 1 }
}

extension Plan {
    /// Whether the predicted step is shorter than another plan's; any plan is faster than none.
    fileprivate func isFaster(than other: Plan?) -> Bool {
        guard let other else { return true }
        return (predicted?.stepSeconds ?? .infinity) < (other.predicted?.stepSeconds ?? .infinity)
    }
}
