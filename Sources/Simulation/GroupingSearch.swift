import Plans

/// Tries every way to cut a small cluster's devices, in their order, into stage groups, and divides the
/// layers over the groups so that the slowest stage or link is as fast as possible.
///
/// Dynamic programming over (stage, first layer) from the last stage back, so that the micro-batches in
/// flight are known: O(S L^2) for a grouping. Shares are as even as whole units allow. There are 2^(D-1)
/// groupings: for clusters beyond some ten devices `Planner` is the one to ask.
package struct GroupingSearch: Sendable {
    private let profile: Profile
    private let costs: any StepCosts
    private let schedule: PipelineSchedule
    private let stageCosts: StageCosts

    package init(profile: Profile, costs: any StepCosts, schedule: PipelineSchedule) {
        self.schedule = schedule
        self.profile = profile
        self.costs = costs
        stageCosts = StageCosts(profile: profile, schedule: schedule)
    }

    /// Every cut of so many devices into groups, as group sizes in order.
    package static func groupings(of deviceCount: Int, stageCounts: ClosedRange<Int>) -> [[Int]] {
        guard deviceCount > 0 else { return [[]] }
        func compositions(_ rest: Int) -> [[Int]] {
            rest == 0 ? [[]] : (1...rest).flatMap { first in compositions(rest - first).map { [first] + $0 } }
        }
        return compositions(deviceCount).filter { stageCounts.contains($0.count) }
    }

    /// The best division of the layers over groups of these sizes; nil when a device lacks memory in every
    /// one.
    package func plan(grouping: [Int], microBatchSize: Int, microBatchCount: Int) -> Plan? {
        divide(grouping, microBatchSize, microBatchCount) { stage, inFlight in
            fits(stage, inFlight, microBatchCount) ? 0 : .infinity
        }
    }

    /// The division that exceeds the budgets least, to say by how much.
    package func closestPlan(grouping: [Int], microBatchSize: Int, microBatchCount: Int) -> Plan? {
        // Bytes weigh more than any time.
        divide(grouping, microBatchSize, microBatchCount) { stage, inFlight in
            1e6
                + stage.ranks.indices.reduce(0.0) { worst, member in
                    let bytes = costs.peakBytes(
                        stage, member: member, inFlightCount: inFlight, microBatchCount: microBatchCount)
                    guard let budget = profile.devices[stage.ranks[member]].memoryBudgetBytes else {
                        return worst
                    }
                    return max(worst, Double(bytes - budget))
                }
        }
    }

    /// Which rank of a plan needs more than its budget, as a clause; nil when all fit.
    package func shortage(of plan: Plan) -> String? {
        for (index, stage) in plan.stages.enumerated() {
            let inFlight = schedule.inFlightCount(
                stage: index, stageCount: plan.stages.count, microBatchCount: plan.microBatchCount)
            for (member, rank) in stage.ranks.enumerated() {
                let bytes = costs.peakBytes(
                    stage, member: member, inFlightCount: inFlight, microBatchCount: plan.microBatchCount)
                if let budget = profile.devices[rank].memoryBudgetBytes, bytes > budget {
                    return "rank \(rank) needs \(bytes) bytes for \(stage), its budget is \(budget)"
                }
            }
        }
        return nil
    }

    private func fits(_ stage: StagePlan, _ inFlightCount: Int, _ microBatchCount: Int) -> Bool {
        stage.ranks.indices.allSatisfy { member in
            guard let budget = profile.devices[stage.ranks[member]].memoryBudgetBytes else { return true }
            return costs.peakBytes(
                stage, member: member, inFlightCount: inFlightCount, microBatchCount: microBatchCount)
                <= budget
        }
    }

    private struct Way {
        var bottleneck: Double
        var sum: Double
        var end: Int
    }

    /// Minimises the largest stage or link, then the sum of them.
    ///
    /// - Parameter penalty: of a stage with so many micro-batches in flight, beside its time; infinity when
    ///   impossible.
    private func divide(
        _ grouping: [Int], _ microBatchSize: Int, _ microBatchCount: Int,
        penalty: (_ stage: StagePlan, _ inFlightCount: Int) -> Double
    ) -> Plan? {
        let (layerCount, stageCount) = (profile.layers.count, grouping.count)
        guard stageCount <= layerCount else { return nil }
        var first = 0
        let groups = grouping.map { size in
            defer { first += size }
            return StagePlan(
                layers: 0..<layerCount, ranks: Array(first..<first + size),
                share: StagePlan.evenShare(sampleCount: microBatchSize, rankCount: size))
        }
        var ways = [[Way?]](repeating: Array(repeating: nil, count: layerCount + 1), count: stageCount)
        for stage in stride(from: stageCount - 1, through: 0, by: -1) {
            let group = groups[stage]
            let seconds = cumulativeSeconds(group)
            let inFlight = schedule.inFlightCount(
                stage: stage, stageCount: stageCount, microBatchCount: microBatchCount)
            let isLast = stage == stageCount - 1
            let links = isLast ? [] : linkSeconds(group, groups[stage + 1])
            for begin in stage...(stage == 0 ? 0 : layerCount - 1) {
                var best: Way?
                let ends = isLast ? layerCount...layerCount : begin + 1...max(begin + 1, layerCount - 1)
                for end in ends where end <= layerCount {
                    let rest = isLast ? Way(bottleneck: 0, sum: 0, end: layerCount) : ways[stage + 1][end]
                    guard let rest else { continue }
                    let part = StagePlan(layers: begin..<end, ranks: group.ranks, share: group.share)
                    let extra = penalty(part, inFlight)
                    guard extra < .infinity else { continue }
                    let own = seconds.reduce(0.0) { max($0, $1[end] - $1[begin]) } + extra
                    let link = isLast ? 0 : links[end]
                    let way = Way(
                        bottleneck: max(own, link, rest.bottleneck), sum: own + link + rest.sum, end: end)
                    if best == nil || (way.bottleneck, way.sum) < (best!.bottleneck, best!.sum) { best = way }
                }
                ways[stage][begin] = best
            }
        }
        var stages: [StagePlan] = []
        var begin = 0
        for (stage, group) in groups.enumerated() {
            guard let way = ways[stage][begin] else { return nil }
            stages.append(StagePlan(layers: begin..<way.end, ranks: group.ranks, share: group.share))
            begin = way.end
        }
        return Plan(stages: stages, microBatchCount: microBatchCount)
    }

    /// Seconds of layers 0..<i forward and backward, for each rank of a group.
    private func cumulativeSeconds(_ group: StagePlan) -> [[Double]] {
        zip(group.ranks, group.share).map { rank, share in
            profile.layers.indices.reduce(into: [0.0]) { sums, layer in
                let samples = Double(share)
                sums.append(
                    sums[sums.count - 1]
                        + profile.forwardSeconds(device: rank, layer: layer, samples: samples)
                        + profile.backwardSeconds(device: rank, layer: layer, samples: samples))
            }
        }
    }

    /// Seconds both ways for the boundary before each layer.
    private func linkSeconds(_ group: StagePlan, _ next: StagePlan) -> [Double] {
        (0...profile.layers.count).map { layer in
            guard (1..<profile.layers.count).contains(layer) else { return 0 }
            return stageCosts.transferSeconds(
                bytesPerSample: profile.forwardBytesPerSample(after: layer - 1), between: group, and: next)
                + stageCosts.transferSeconds(
                    bytesPerSample: profile.backwardBytesPerSample(after: layer - 1), between: group,
                    and: next)
        }
    }
}
