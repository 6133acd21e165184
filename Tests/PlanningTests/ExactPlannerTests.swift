import PlanExamples
import Planning
import Plans
import Support
import Testing

@Suite("Exact planner")
struct ExactPlannerTests {
    @Test("equals brute force over all plans on 580 random instances")
    func bruteForce() throws {
        var (feasible, infeasible, uneven, recomputed, leftOut, reordered) = (0, 0, 0, 0, 0, 0)
        for seed in 0..<UInt64(580) {
            let random = CounterRandom(seed, 99)
            func draw(_ index: UInt64, _ range: ClosedRange<Int>) -> Int {
                range.lowerBound + Int(random.uniform(at: index) * Double(range.count))
            }
            // The last two are the largest that are promised to be exact.
            let isLargest = seed >= 578
            let (layerCount, deviceCount) = isLargest ? (8, 5) : (draw(0, 1...8), draw(1, 1...5))
            let miniBatchSize = isLargest ? 6 : draw(2, 1...[12, 12, 8, 6, 4][deviceCount - 1])
            // Every other instance has devices of one or two kinds.
            let kinds =
                seed % 2 == 0 || isLargest ? nil : (0..<deviceCount).map { _ in Int(random.bits(at: 5) % 2) }
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
        #expect(feasible >= 500 && uneven > 20 && recomputed >= 10 && leftOut > 50 && reordered > 50)
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
        for tunesAll in [true, false] {
            let large = try Profiles.home(
                (0..<1000).map { Profiles.HomeDevice.allCases[$0 % 7 % 3] }, layerCount: 200,
                tunesAll: tunesAll)
            let planner = Planner(profile: large, memory: MemoryModel(optimizerStateMultiple: 0))
            let time = try clock.measure { plan = try planner.plan(miniBatchSize: 64) }
            print(
                "200 layers x 1000 devices in \(time): \(plan!.stages.count) stages on "
                    + "\(plan!.stages.flatMap(\.ranks).count) devices, \(plan!.microBatchCount) micro-batches"
            )
            try plan!.validate(layerCount: 200, worldSize: 1000, miniBatchSize: 64)
            #expect(planner.costs.memoryShortage(of: plan!) == nil)
            #expect(time < .seconds(30))
        }
        // Ten times what a quiet machine takes: one under load must not fail a test of milliseconds.
        #expect(search < .seconds(0.5))
    }

    @Test("what was compared with the plan is priced like a plan, or says why it cannot run")
    func alternatives() throws {
        let profile = try Profiles.home([.laptop, .nano, .nano, .pi], tunesAll: false)
        let planner = Planner(profile: profile)
        let plan = try planner.plan(miniBatchSize: 16)
        let alternatives = try #require(plan.predicted).alternatives
        #expect(
            alternatives.map(\.name) == ["rank 0 alone", "every device in the given order, even shares"])
        let alone = [1, 2, 4, 8, 16].map { count in
            planner.prediction(
                of: Plan(
                    stages: [StagePlan(layers: 0..<26, ranks: [0], share: [16 / count])],
                    microBatchCount: count)
            ).stepSeconds
        }.min()!
        guard case .feasible(_, let seconds, _) = alternatives[0].outcome else {
            Issue.record("expected rank 0 alone to be feasible, found \(alternatives[0].outcome)")
            return
        }
        #expect(isClose(seconds, alone))

        let nanos = try Profiles.home([.nano, .nano, .nano, .nano], tunesAll: true)
        let tight = try Planner(profile: nanos, memory: MemoryModel(optimizerStateMultiple: 0))
            .plan(miniBatchSize: 16)
        #expect(
            tight.predicted?.alternatives.first
                == PlanAlternative(
                    name: "one device alone",
                    outcome: .infeasible(reason: "no device can hold the whole model")))
    }

    @Test("one device is the answer where the network is slow")
    func oneDevice() throws {
        let fast = try Profiles.home([.nano, .laptop, .pi], tunesAll: false)
        let profile = try Profile(
            devices: fast.devices, layers: fast.layers,
            links: fast.links.map {
                LinkProfile(ranks: $0.ranks, bandwidth: 1e5, latencySeconds: $0.latencySeconds)
            },
            meanTokens: fast.meanTokens)
        let plan = try Planner(profile: profile).plan(miniBatchSize: 16)
        #expect(plan.stages.map(\.ranks) == [[1]])
        #expect(plan.stages[0].layers == 0..<26)
    }
}

private func isClose(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-12 * max(abs(a), abs(b)) }
