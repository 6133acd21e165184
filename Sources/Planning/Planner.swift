import Support

/// Chooses a plan from a profile (section 5.1 of the paper). Pure: the same profile gives the same plan.
///
/// Both kinds divide the layers and the ranks, each in their given order, into stages of consecutive layers and
/// consecutive ranks that use every rank. For each number of stages S and each micro-batch count M the recursion of eq. (2)
/// finds the division with the smallest bottleneck among those that fit the memory budgets, with shares as even as whole
/// samples allow. The best (S, M) by the kind's estimate is the plan.
///
/// | | `paper` | `exact` |
/// | --- | --- | --- |
/// | bottleneck W | slowest stage | slowest stage or link |
/// | choice of S and M | eq. (6), `LatencyEstimate.paper` | `LatencyEstimate.bottleneck` |
///
/// Within one (S, M) `exact` minimises the bottleneck, not its estimate of the whole step, and neither kind reorders ranks,
/// leaves ranks out, or gives uneven shares.
public struct Planner: Sendable {
    public let kind: PlannerKind
    public let costs: StageCosts

    public init(kind: PlannerKind = .exact, profile: Profile, memory: MemoryModel = MemoryModel()) {
        self.kind = kind
        costs = StageCosts(profile: profile, memory: memory)
    }

    /// Finds the plan, with its prediction.
    ///
    /// - Parameters:
    ///   - microBatchCount: M; nil searches every divisor of the mini-batch size.
    ///   - ranks: the ordered set D, all of which the plan uses; nil for every rank of the profile.
    ///   - stageCounts: the numbers of stages to consider; nil for 1 to the number of ranks.
    /// - Throws: a configuration failure when M does not divide the mini-batch size, or when no plan is feasible; then it
    ///   says for each number of stages what is missing.
    public func plan(
        miniBatchSize: Int, microBatchCount: Int? = nil, ranks: [Int]? = nil,
        stageCounts: ClosedRange<Int>? = nil
    ) throws -> Plan {
        let ranks = ranks ?? Array(costs.profile.devices.indices)
        let stageCounts = stageCounts ?? 1...ranks.count
        precondition(miniBatchSize > 0 && stageCounts.lowerBound > 0 && stageCounts.upperBound <= ranks.count)
        let microBatchCounts = try Self.microBatchCounts(miniBatchSize, bound: microBatchCount)
        var best = [Plan?](repeating: nil, count: ranks.count + 1)
        for count in microBatchCounts {
            for plan in plans(
                ranks, stageCounts, microBatchCount: count, microBatchSize: miniBatchSize / count)
            {
                if plan.isFaster(than: best[plan.stages.count]) { best[plan.stages.count] = plan }
            }
        }
        let candidates = stageCounts.map { stageCount in
            candidate(
                best[stageCount], stageCount, ranks, miniBatchSize,
                microBatchCounts[microBatchCounts.count - 1])
        }
        var chosen: Plan?
        for plan in best.compactMap({ $0 }) where plan.isFaster(than: chosen) { chosen = plan }
        guard var chosen else { throw Self.infeasible(candidates) }
        chosen.predicted?.considered = candidates
        return chosen
    }

    /// Prices a plan that is valid for the profile by this planner's estimate; nothing else is considered.
    public func prediction(of plan: Plan) -> Prediction {
        let stages = costs.predictions(of: plan)
        return Prediction(
            planner: kind, stepSeconds: kind.stepSeconds(stages, microBatchCount: plan.microBatchCount),
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

    /// The plan with the smallest bottleneck for each number of stages that has one, at one micro-batch count.
    private func plans(
        _ ranks: [Int], _ stageCounts: ClosedRange<Int>, microBatchCount: Int, microBatchSize: Int
    ) -> [Plan] {
        let table = StageTable(costs: costs, ranks: ranks, microBatchSize: microBatchSize)
        let recursion = PartitionRecursion(
            layerCount: costs.profile.layers.count, deviceCount: ranks.count,
            partCount: stageCounts.upperBound,
            cost: { table.microBatchSeconds($0, $1, inFlightCount: min(microBatchCount, $2)) },
            link: { kind == .exact ? table.linkSeconds(before: $0, $1, $2) : 0 })
        return stageCounts.compactMap { stageCount in
            guard let division = recursion.best(partCount: stageCount) else { return nil }
            var plan = table.plan(division.parts, microBatchCount: microBatchCount)
            plan.predicted = prediction(of: plan)
            return plan
        }
    }

    private func candidate(
        _ plan: Plan?, _ stageCount: Int, _ ranks: [Int], _ miniBatchSize: Int, _ microBatchCount: Int
    ) -> PlanCandidate {
        if let plan, let predicted = plan.predicted {
            return PlanCandidate(
                stageCount: stageCount,
                outcome: .feasible(
                    microBatchCount: plan.microBatchCount, stepSeconds: predicted.stepSeconds,
                    bottleneckSeconds: kind.bottleneckSeconds(predicted.stages)))
        }
        let reason = shortage(stageCount, ranks, miniBatchSize / microBatchCount, microBatchCount)
        return PlanCandidate(stageCount: stageCount, outcome: .infeasible(reason: reason))
    }

    /// Why no plan of so many stages is feasible: the same recursion over the bytes that are missing finds the plan that
    /// comes closest, with the largest micro-batch count allowed.
    private func shortage(_ stageCount: Int, _ ranks: [Int], _ microBatchSize: Int, _ microBatchCount: Int)
        -> String
    {
        let layerCount = costs.profile.layers.count
        guard stageCount <= layerCount else { return "the model has \(layerCount) layers only" }
        let table = StageTable(costs: costs, ranks: ranks, microBatchSize: microBatchSize)
        let recursion = PartitionRecursion(
            layerCount: layerCount, deviceCount: ranks.count, partCount: stageCount,
            cost: { table.excessBytes($0, $1, inFlightCount: min(microBatchCount, $2)) },
            link: { _, _, _ in 0 })
        guard let parts = recursion.best(partCount: stageCount)?.parts,
            let shortage = costs.memoryShortage(of: table.plan(parts, microBatchCount: microBatchCount))
        else {
            // No excess is infinite, so there is a closest plan; were it feasible, the planner would have had one.
            preconditionFailure("the recursion found no plan of \(stageCount) stages although one fits")
        }
        let noun = microBatchCount == 1 ? "micro-batch" : "micro-batches"
        return "in the closest plan with \(microBatchCount) \(noun), \(shortage)"
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

extension Plan {
    /// Whether the predicted step is shorter than another plan's; any plan is faster than none.
    fileprivate func isFaster(than other: Plan?) -> Bool {
        guard let other else { return true }
        return (predicted?.stepSeconds ?? .infinity) < (other.predicted?.stepSeconds ?? .infinity)
    }
}
