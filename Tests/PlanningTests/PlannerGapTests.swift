import PlanExamples
import Planning
import Plans
import Support
import Testing

/// Looks for plans by simulated annealing from random starts, priced by the public estimate: slow, and without an idea of
/// what a good plan looks like.
private struct RandomSearch {
    let planner: Planner
    let miniBatchSize: Int
    private let random: CounterRandom
    private var position: UInt64 = 0

    init(planner: Planner, miniBatchSize: Int, seed: UInt64) {
        self.planner = planner
        self.miniBatchSize = miniBatchSize
        random = CounterRandom(seed, 4242)
    }

    private mutating func uniform() -> Double {
        position += 1
        return random.uniform(at: position)
    }

    private mutating func below(_ count: Int) -> Int { Int(uniform() * Double(count)) }

    private mutating func start() -> Plan {
        let layerCount = planner.costs.profile.layers.count
        let divisors = (1...miniBatchSize).filter { miniBatchSize % $0 == 0 }
        let count = divisors[below(divisors.count)]
        var ranks = Array(planner.costs.profile.devices.indices)
        for index in ranks.indices.reversed() { ranks.swapAt(index, below(index + 1)) }
        let stageCount = 1 + below(min(ranks.count, layerCount))
        let groups = (0..<stageCount).map { stage in
            ranks.indices.filter { $0 % stageCount == stage }.map { ranks[$0] }.prefix(miniBatchSize / count)
        }
        return Plan(
            stages: groups.enumerated().map { index, group in
                StagePlan(
                    layers: layerCount * index / stageCount..<layerCount * (index + 1) / stageCount,
                    ranks: Array(group),
                    share: StagePlan.evenShare(sampleCount: miniBatchSize / count, rankCount: group.count))
            }, microBatchCount: count)
    }

    /// One random change; nil when it does not apply.
    private mutating func change(_ plan: Plan) -> Plan? {
        var plan = plan
        let microBatchSize = plan.microBatchSize
        let free = planner.costs.profile.devices.indices.filter { plan.stageIndex(ofRank: $0) == nil }
        let (a, b) = (below(plan.stages.count), below(plan.stages.count))
        let i = below(plan.stages[a].ranks.count)
        switch below(8) {
        case 0, 1, 2:
            guard a > 0 else { return nil }
            let bound = plan.stages[a].layers.lowerBound + [-1, 1, -3, 3][below(4)]
            guard bound > plan.stages[a - 1].layers.lowerBound, bound < plan.stages[a].layers.upperBound
            else { return nil }
            plan.stages[a - 1].layers = plan.stages[a - 1].layers.lowerBound..<bound
            plan.stages[a].layers = bound..<plan.stages[a].layers.upperBound
        case 3:
            let j = below(plan.stages[a].ranks.count)
            guard plan.stages[a].share[i] > 1 else { return nil }
            plan.stages[a].share[i] -= 1
            plan.stages[a].share[j] += 1
        case 4:
            let j = below(plan.stages[b].ranks.count)
            let rank = plan.stages[a].ranks[i]
            plan.stages[a].ranks[i] = plan.stages[b].ranks[j]
            plan.stages[b].ranks[j] = rank
        case 5:
            guard plan.stages[a].ranks.count > 1 else { return nil }
            let rank = plan.stages[a].ranks.remove(at: i)
            let share = plan.stages[a].share.remove(at: i)
            plan.stages[a].share[0] += share
            let j = below(plan.stages[b].ranks.count)
            guard a != b, plan.stages[b].share[j] > 1 else { return plan }
            plan.stages[b].ranks.append(rank)
            plan.stages[b].share[j] -= plan.stages[b].share[j] / 2
            plan.stages[b].share.append(microBatchSize - plan.stages[b].share.reduce(0, +))
        case 6:
            guard let rank = free.isEmpty ? nil : free[below(free.count)] else { return nil }
            if plan.stages[a].share[i] > 1, below(2) == 0 {
                plan.stages[a].ranks.append(rank)
                plan.stages[a].share[i] -= 1
                plan.stages[a].share.append(1)
            } else {
                plan.stages[a].ranks[i] = rank
            }
        default: plan.stages[a].recompute.toggle()
        }
        return plan
    }

    private func seconds(_ plan: Plan) -> Double {
        let prediction = planner.prediction(of: plan)
        for (stage, costs) in zip(plan.stages, prediction.stages) {
            for (rank, bytes) in zip(stage.ranks, costs.memoryBytes)
            where bytes > planner.costs.profile.devices[rank].memoryBudgetBytes ?? .max {
                return .infinity
            }
        }
        return prediction.stepSeconds
    }

    /// The least step of annealing from random starts.
    mutating func run(startCount: Int, stepCount: Int) -> Double {
        (0..<startCount).reduce(Double.infinity) { least, _ in
            min(least, run(from: start(), stepCount: stepCount))
        }
    }

    /// The least step of annealing from a plan.
    mutating func run(from start: Plan, stepCount: Int) -> Double {
        var plan = start
        var current = seconds(plan)
        var best = current
        for step in 0..<stepCount {
            guard let next = change(plan) else { continue }
            let seconds = seconds(next)
            // From 5 % worse down to nothing.
            let warmth = 0.05 * (1 - Double(step) / Double(stepCount))
            if seconds <= current || seconds < current * (1 + warmth * uniform()) {
                (plan, current) = (next, seconds)
                best = min(best, current)
            }
        }
        return best
    }
}

@Suite("Exact planner on larger clusters")
struct PlannerGapTests {
    struct Cluster: Sendable, CustomTestStringConvertible {
        let layerCount: Int
        let kinds: [Int]
        let budgets: Bool
        let miniBatchSize: Int

        var testDescription: String { "\(layerCount) layers on \(kinds)" }
    }

    static let clusters = [
        Cluster(layerCount: 48, kinds: [0, 1, 0, 1, 1, 0, 1, 0], budgets: false, miniBatchSize: 16),
        Cluster(layerCount: 14, kinds: [0, 1, 2, 3, 4, 5], budgets: true, miniBatchSize: 16),
        Cluster(layerCount: 26, kinds: [0, 1, 2, 3, 4, 5, 6, 7], budgets: false, miniBatchSize: 16),
        Cluster(layerCount: 24, kinds: [0, 1, 2, 2, 1, 0, 1, 2, 0, 1], budgets: true, miniBatchSize: 32),
        Cluster(layerCount: 26, kinds: Array(0..<12), budgets: false, miniBatchSize: 24),
    ]

    @Test("the plan is hardly slower than the best that a long random search finds", arguments: clusters)
    func gap(cluster: Cluster) throws {
        for seed in [UInt64(1), 2] {
            let profile = try Profiles.random(
                seed: seed, layerCount: cluster.layerCount, deviceCount: cluster.kinds.count,
                budgets: cluster.budgets, kinds: cluster.kinds, savedBytes: 20)
            let planner = Planner(profile: profile)
            var plan: Plan?
            let time = try ContinuousClock().measure {
                plan = try planner.plan(miniBatchSize: cluster.miniBatchSize)
            }
            try Self.compare(
                "\(cluster.testDescription) in \(time)", planner, try #require(plan), seed: seed)
        }
    }

    static let homes: [[Profiles.HomeDevice]] = [
        [.laptop, .nano, .nano, .pi],
        [.nano, .nano, .nano, .nano],
        [.pi, .nano, .laptop, .nano, .pi, .laptop, .nano, .nano],
        [.laptop, .laptop, .laptop] + Array(repeating: .nano, count: 6) + Array(repeating: .pi, count: 6),
    ]

    @Test("so it is on home clusters", arguments: homes, [true, false])
    func home(devices: [Profiles.HomeDevice], tunesAll: Bool) throws {
        let planner = Planner(
            profile: try Profiles.home(devices, tunesAll: tunesAll),
            memory: MemoryModel(optimizerStateMultiple: 0))
        var plan: Plan?
        let time = try ContinuousClock().measure { plan = try planner.plan(miniBatchSize: 16) }
        try Self.compare(
            "\(devices.count) home devices, \(tunesAll ? "full" : "PA") in \(time)", planner,
            try #require(plan), seed: 3)
    }

    private static func compare(_ name: String, _ planner: Planner, _ plan: Plan, seed: UInt64) throws {
        let step = try #require(plan.predicted).stepSeconds
        var search = RandomSearch(planner: planner, miniBatchSize: plan.miniBatchSize, seed: seed)
        let free = search.run(startCount: 30, stepCount: 3_000)
        let near = search.run(from: plan, stepCount: 20_000)
        func percent(_ other: Double) -> Double { Double(Int((step / other - 1) * 10_000)) / 100 }
        print(
            "\(name): \(step) s; slower than random search by \(percent(free)) %, than annealing from the plan by "
                + "\(percent(near)) %")
        #expect(step <= free * 1.03)
        #expect(step <= near * 1.03)
    }
}
