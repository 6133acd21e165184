import Planning
import Support
import Testing

@Suite("Exact planner")
struct ExactPlannerTests {
    @Test("equals brute force over all plans on 560 random instances")
    func bruteForce() throws {
        var (feasible, infeasible, uneven, recomputed, leftOut, reordered) = (0, 0, 0, 0, 0, 0)
        for seed in 0..<UInt64(560) {
            let random = CounterRandom(seed, 99)
            func draw(_ index: UInt64, _ range: ClosedRange<Int>) -> Int {
                range.lowerBound + Int(random.uniform(at: index) * Double(range.count))
            }
            let (layerCount, deviceCount) = (draw(0, 1...8), draw(1, 1...5))
            let miniBatchSize = draw(2, 1...[12, 12, 8, 6, 4][deviceCount - 1])
            // Every other instance has devices of one or two kinds.
            let kinds = seed % 2 == 0 ? nil : (0..<deviceCount).map { _ in Int(random.bits(at: 5) % 2) }
            let profile = try Profiles.random(
                seed: seed, layerCount: layerCount, deviceCount: deviceCount, kinds: kinds,
                savedBytes: seed % 3 == 0 ? 4000 : 200)
            let planner = Planner(profile: profile)
            var least = [Double](repeating: .infinity, count: deviceCount + 1)
            for count in 1...miniBatchSize where miniBatchSize % count == 0 {
                var every = EveryPlan(
                    profile: profile, microBatchCount: count, microBatchSize: miniBatchSize / count,
                    zeroShares: deviceCount <= 3)
                for stageCount in 1...deviceCount {
                    least[stageCount] = min(least[stageCount], every.least(stageCount: stageCount))
                }
            }
            guard least.min()! < .infinity else {
                #expect(throws: Failure.self) { try planner.plan(miniBatchSize: miniBatchSize) }
                infeasible += 1
                continue
            }
            let plan = try planner.plan(miniBatchSize: miniBatchSize)
            try plan.validate(layerCount: layerCount, worldSize: deviceCount, miniBatchSize: miniBatchSize)
            #expect(planner.costs.memoryShortage(of: plan) == nil)
            let predicted = try #require(plan.predicted)
            #expect(isClose(predicted.stepSeconds, least.min()!), "seed \(seed): \(plan)")
            for candidate in predicted.considered {
                guard case .feasible(_, let seconds, _) = candidate.outcome else {
                    #expect(least[candidate.stageCount] == .infinity, "seed \(seed): \(candidate)")
                    continue
                }
                #expect(isClose(seconds, least[candidate.stageCount]), "seed \(seed): \(candidate)")
            }
            for alternative in predicted.alternatives {
                if case .feasible(_, let seconds, _) = alternative.outcome {
                    #expect(seconds > predicted.stepSeconds, "seed \(seed): \(alternative)")
                }
            }
            feasible += 1
            let ranks = plan.stages.flatMap(\.ranks)
            uneven +=
                plan.stages.contains {
                    $0.share != $0.share.sorted(by: >) || $0.share.max()! - $0.share.min()! > 1
                } ? 1 : 0
            recomputed += plan.stages.contains(where: \.recompute) ? 1 : 0
            leftOut += ranks.count < deviceCount ? 1 : 0
            reordered += ranks != ranks.sorted() ? 1 : 0
        }
        print(
            "exact: \(feasible) feasible and \(infeasible) infeasible; \(uneven) best plans have uneven shares, "
                + "\(recomputed) recompute, \(leftOut) leave devices out, \(reordered) reorder them")
        #expect(feasible >= 500 && uneven > 20 && recomputed > 20 && leftOut > 50 && reordered > 50)
    }

    @Test("48 layers on 8 devices of two kinds, and 200 layers on 1000, are planned quickly")
    func speed() throws {
        let small = try Profiles.random(
            seed: 1, layerCount: 48, deviceCount: 8, budgets: false, kinds: [0, 1, 0, 1, 1, 0, 1, 0])
        let clock = ContinuousClock()
        var plan: Plan?
        let one = try clock.measure {
            plan = try Planner(profile: small).plan(miniBatchSize: 16, microBatchCount: 4)
        }
        let search = try clock.measure { plan = try Planner(profile: small).plan(miniBatchSize: 16) }
        print(
            "48 layers x 8 devices of two kinds: M = 4 in \(one), all divisors of 16 in \(search)\n\(plan!)")
        let kinds = (0..<1000).map { $0 % 7 % 3 }
        let large = try Profiles.random(
            seed: 1, layerCount: 200, deviceCount: 1000, budgets: false, kinds: kinds)
        let time = try clock.measure { plan = try Planner(profile: large).plan(miniBatchSize: 64) }
        print(
            "200 layers x 1000 devices, all divisors of 64 in \(time): \(plan!.stages.count) stages on "
                + "\(plan!.stages.flatMap(\.ranks).count) devices, \(plan!.microBatchCount) micro-batches")
        // Ten times what a quiet machine takes: one under load must not fail a test of milliseconds.
        #expect(search < .seconds(0.5))
        #expect(time < .seconds(30))
    }
}

private func isClose(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-12 * max(abs(a), abs(b)) }
