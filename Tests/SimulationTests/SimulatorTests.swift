import PlanExamples
import Plans
import Simulation
import Support
import Testing

@Suite("Simulator")
struct SimulatorTests {
    /// Layer 0 on rank 0, layers 1 and 2 on rank 1, two micro-batches of one sample.
    private let pipeline = Plan(
        stages: [
            StagePlan(layers: 0..<1, ranks: [0], share: [1]),
            StagePlan(layers: 1..<3, ranks: [1], share: [1]),
        ], microBatchCount: 2)

    private func simulate(_ profile: Profile, _ plan: Plan) -> SimulatedStep {
        Simulator(
            profile: profile, costs: StageCosts(profile: profile), schedule: .oneForwardOneBackward
        ).run(plan)
    }

    @Test("two stages and two micro-batches, drawn by hand")
    func pipelineByHand() throws {
        let profile = try Profiles.twoDevices()
        // Both stages take 1 s forward and 2 s backward; a message takes 1 s forward and 0.6 s backward. rank
        // 0  F0 F1 .. .. .. B0 B0 . B1 B1       until 10.6 rank 1  .. F0 B0 B0 F1 B1 B1
        let result = simulate(profile, pipeline)
        #expect(abs(result.stepSeconds - 10.6) < 1e-12)
        let expected: [(Int, SimulatedStep.Lane, String, Double, Double)] = [
            (0, .compute, "F0", 0, 1), (0, .network, "SF0", 1, 1), (0, .compute, "F1", 1, 1),
            (0, .network, "SF1", 2, 1), (1, .compute, "F0", 2, 1), (1, .compute, "B0", 3, 2),
            (1, .network, "SB0", 5, 0.6), (1, .compute, "F1", 5, 1), (0, .compute, "B0", 5.6, 2),
            (1, .compute, "B1", 6, 2), (1, .network, "SB1", 8, 0.6), (0, .compute, "B1", 8.6, 2),
        ]
        #expect(result.spans.count == expected.count)
        for (rank, lane, name, start, seconds) in expected {
            let span = result.spans.first { $0.rank == rank && $0.lane == lane && $0.name == name }
            #expect(abs((span?.start ?? .infinity) - start) < 1e-12, "\(name) of rank \(rank)")
            #expect(abs((span?.seconds ?? .infinity) - seconds) < 1e-12, "\(name) of rank \(rank)")
        }
        #expect(result.ranks.map(\.peakInFlightCount) == [2, 1])
        #expect(result.ranks.allSatisfy { abs($0.busySeconds - 6) < 1e-12 })
        #expect(abs(result.bubbleFraction - (1 - 6 / 10.6)) < 1e-12)
    }

    @Test("ranks that share a core are faster while the other waits, drawn by hand")
    func sharedCore() throws {
        var profile = try Profiles.twoDevices()
        profile = try Profile(
            devices: profile.devices.map {
                var device = $0
                (device.host, device.coreCount) = ("one", 1)
                return device
            }, layers: profile.layers, links: profile.links, meanTokens: profile.meanTokens)
        // The profile's 1 s and 2 s are of two ranks at work; alone they are 0.5 s and 1 s. Both compute from 3.6 to 5.4:
        // rank 1 has 0.9 s of its own left of B1, and rank 0 then 0.1 s of B0.
        let result = simulate(profile, pipeline)
        #expect(abs(result.stepSeconds - 7) < 1e-12)
        for (rank, name, start, seconds) in [
            (0, "F0", 0, 0.5), (0, "F1", 0.5, 0.5), (1, "F0", 1.5, 0.5), (1, "B0", 2, 1), (1, "F1", 3, 0.5),
            (1, "B1", 3.5, 1.9), (0, "B0", 3.6, 1.9), (0, "B1", 6, 1),
        ] {
            let span = result.spans.first { $0.rank == rank && $0.lane == .compute && $0.name == name }
            #expect(abs((span?.start ?? .infinity) - start) < 1e-12, "\(name) of rank \(rank)")
            #expect(abs((span?.seconds ?? .infinity) - seconds) < 1e-12, "\(name) of rank \(rank)")
        }
    }

    @Test("data parallelism waits for the slower rank, then sums the gradients")
    func dataParallelByHand() throws {
        let profile = try Profiles.twoDevices()
        let plan = Plan(
            stages: [StagePlan(layers: 0..<3, ranks: [0, 1], share: [1, 1])], microBatchCount: 1)
        // 9 s and 4.5 s of computing; then two messages of 150 bytes, each 0.5 s + 1.5 s.
        let result = simulate(profile, plan)
        #expect(abs(result.stepSeconds - 13) < 1e-12)
        #expect(result.ranks.map(\.busySeconds) == [9, 4.5])
        #expect(abs(result.bubbleFraction(result.ranks[1]) - (1 - 4.5 / 13)) < 1e-12)
    }

    @Test("a rank sends and receives one message at a time, and only to those who hold its rows")
    func linksAreSerial() throws {
        let profile = try Profiles.random(seed: 5, layerCount: 4, deviceCount: 5, budgets: false)
        let plan = Plan(
            stages: [
                StagePlan(layers: 0..<2, ranks: [3, 0], share: [3, 1]),
                StagePlan(layers: 2..<4, ranks: [1, 4, 2], share: [1, 2, 1]),
            ], microBatchCount: 3)
        let result = simulate(profile, plan)
        // Rows 0-2 on rank 3 meet 0 on rank 1 and 1-2 on rank 4; row 3 goes from rank 0 to rank 2.
        let sent = result.spans.filter { $0.lane == .network && $0.name.hasPrefix("SF") }
        #expect(sent.count { $0.rank == 3 } == 6)
        #expect(sent.count { $0.rank == 0 } == 3)
        let bytes = profile.forwardBytesPerSample(after: 1)
        let toRank4 = profile.link(3, 4).seconds(bytes: 2 * bytes)
        #expect(sent.contains { $0.rank == 3 && abs($0.seconds - toRank4) < 1e-12 })
        expectNoOverlap(result)
    }

    @Test("another schedule, drawn by hand: all forwards, then all backwards, every micro-batch in flight")
    func anotherSchedule() throws {
        let profile = try Profiles.twoDevices()
        let costs = StageCosts(profile: profile, schedule: .allForwardAllBackward)
        let result = Simulator(profile: profile, costs: costs, schedule: costs.schedule).run(pipeline)
        // As above, but rank 1 runs F1 before B0: 0  F0 F1 .. .. . . . B0 B0 B1 B1; 1  .. F0 F1 B0 B0 B1 B1. Its gradients
        // arrive at 6.6 and 8.6.
        #expect(abs(result.stepSeconds - 10.6) < 1e-12)
        func start(_ rank: Int, _ name: String) -> Double {
            result.spans.first { $0.rank == rank && $0.lane == .compute && $0.name == name }?.start ?? -1
        }
        #expect(start(1, "F1") == 3)
        #expect(start(1, "B0") == 4)
        #expect(abs(start(0, "B0") - 6.6) < 1e-12)
        #expect(result.ranks.map(\.peakInFlightCount) == [2, 2])
        // The memory model was told the same, and holds more on the last stage than under 1F1B.
        let predicted = costs.predictions(of: pipeline)
        #expect(result.ranks.map(\.peakBytes) == predicted.map { $0.memoryBytes[0] })
        let usual = StageCosts(profile: profile).predictions(of: pipeline)
        #expect(predicted[0].memoryBytes == usual[0].memoryBytes)
        #expect(predicted[1].memoryBytes[0] > usual[1].memoryBytes[0])
    }

    private func expectNoOverlap(_ result: SimulatedStep) {
        for rank in result.ranks {
            for lane in [SimulatedStep.Lane.compute, .network] {
                // Sending forward and backward share the rank's way out.
                let spans = result.spans.filter { $0.rank == rank.rank && $0.lane == lane }
                    .sorted { $0.start < $1.start }
                for (a, b) in zip(spans, spans.dropFirst()) {
                    #expect(
                        a.start + a.seconds <= b.start + 1e-12, "\(a.name) and \(b.name) of rank \(rank.rank)"
                    )
                }
            }
        }
    }

    @Test("what holds for every schedule, on random plans", arguments: 0..<60)
    func invariants(seed: Int) throws {
        let random = CounterRandom(UInt64(seed) + 1000)
        let layerCount = 3 + Int(random.uniform(at: 1) * 5)
        let profile = try Profiles.random(
            seed: UInt64(seed), layerCount: layerCount, deviceCount: 4, budgets: false)
        let groupings = GroupingSearch.groupings(of: 4, stageCounts: 1...min(4, layerCount))
        let grouping = groupings[Int(random.uniform(at: 2) * Double(groupings.count))]
        let count = 1 + Int(random.uniform(at: 3) * 6)
        let costs = StageCosts(profile: profile)
        let plan = try #require(
            GroupingSearch(profile: profile, costs: costs, schedule: .oneForwardOneBackward).plan(
                grouping: grouping, microBatchSize: 4, microBatchCount: count))
        try plan.validate(layerCount: layerCount, worldSize: 4, miniBatchSize: 4 * count)
        let result = simulate(profile, plan)
        expectNoOverlap(result)
        let predictions = costs.predictions(of: plan)
        for rank in result.ranks {
            #expect(rank.busySeconds <= result.stepSeconds)
            #expect(
                rank.peakInFlightCount
                    == PipelineSchedule.oneForwardOneBackward.inFlightCount(
                        stage: rank.stage, stageCount: plan.stages.count, microBatchCount: count))
            let member = plan.stages[rank.stage].ranks.firstIndex(of: rank.rank)!
            #expect(rank.peakBytes == predictions[rank.stage].memoryBytes[member])
            // The order of computing is the schedule's.
            let order = PipelineSchedule.oneForwardOneBackward.actions(
                stage: rank.stage, stageCount: plan.stages.count, microBatchCount: count
            ).map(\.description).filter { $0.hasPrefix("F") || $0.hasPrefix("B") }
            let found = result.spans.filter { $0.rank == rank.rank && $0.lane == .compute }.sorted {
                $0.start < $1.start
            }
            #expect(found.map(\.name) == order)
        }
        // No faster than the slowest stage's work.
        let slowest = predictions.map(\.microBatchSeconds).max()!
        #expect(result.stepSeconds >= Double(count) * slowest - 1e-9)
    }

    @Test("the estimate F is within 1.5 % of the simulation on average, and never further than 9 %")
    func estimate() throws {
        var deviations: [Double] = []
        for (layers, devices) in [(12, 4), (24, 4), (24, 6)] {
            let model = AnalyticModel(
                shape: Shapes.t5(d: 768, width: 3072, heads: 12, layers: layers / 2), tuning: .full,
                tokens: TokenCounts(source: 128, target: 60), hasDropout: true)
            let cluster = SimulatedCluster(
                devices: Array(repeating: Shapes.nano, count: devices),
                commonLink: .init(bandwidth: 125e6, latencySeconds: 2e-4))
            let profile = try model.profile(on: cluster)
            let costs = StageCosts(profile: profile)
            for grouping in GroupingSearch.groupings(of: devices, stageCounts: 1...devices) {
                for count in [2, 4, 8] {
                    let plan = try #require(
                        GroupingSearch(profile: profile, costs: costs, schedule: .oneForwardOneBackward).plan(
                            grouping: grouping, microBatchSize: devices, microBatchCount: count))
                    let estimate = LatencyEstimate.bottleneck(
                        costs.predictions(of: plan), microBatchCount: count)
                    deviations.append(abs(estimate / simulate(profile, plan).stepSeconds - 1))
                }
            }
        }
        #expect(deviations.reduce(0, +) / Double(deviations.count) < 0.015)
        #expect(deviations.max()! < 0.09)
    }
}

@Suite("Search over groupings")
struct GroupingSearchTests {
    @Test("the division is as good as the best of all", arguments: 0..<40)
    func bruteForce(seed: Int) throws {
        let profile = try Profiles.random(seed: UInt64(seed) + 77, layerCount: 6, deviceCount: 4)
        let costs = StageCosts(profile: profile)
        for grouping in GroupingSearch.groupings(of: 4, stageCounts: 2...4) {
            func bottleneck(_ plan: Plan) -> Double {
                PlannerKind.exact.bottleneckSeconds(costs.predictions(of: plan))
            }
            let found = GroupingSearch(profile: profile, costs: costs, schedule: .oneForwardOneBackward).plan(
                grouping: grouping, microBatchSize: 4, microBatchCount: 3)
            var best = Double.infinity
            for bounds in ascending(grouping.count - 1, from: 1, to: 5) {
                let cuts = [0] + bounds + [6]
                var first = 0
                let stages = grouping.enumerated().map { index, size in
                    defer { first += size }
                    return StagePlan(
                        layers: cuts[index]..<cuts[index + 1], ranks: Array(first..<first + size),
                        share: StagePlan.evenShare(sampleCount: 4, rankCount: size))
                }
                let plan = Plan(stages: stages, microBatchCount: 3)
                if costs.memoryShortage(of: plan) == nil { best = min(best, bottleneck(plan)) }
            }
            if let found {
                #expect(costs.memoryShortage(of: found) == nil)
                #expect(abs(bottleneck(found) - best) <= 1e-9 * best, "\(grouping)")
            } else {
                #expect(best == .infinity, "\(grouping)")
            }
        }
    }

    private func ascending(_ count: Int, from low: Int, to high: Int) -> [[Int]] {
        guard count > 0 else { return [[]] }
        guard low <= high else { return [] }
        return (low...high).flatMap { first in
            ascending(count - 1, from: first + 1, to: high).map { [first] + $0 }
        }
    }

    @Test("every cut of the devices is there once")
    func groupings() {
        let all = GroupingSearch.groupings(of: 5, stageCounts: 1...5)
        #expect(all.count == 16)
        #expect(Set(all).count == 16)
        #expect(all.allSatisfy { $0.reduce(0, +) == 5 })
        #expect(GroupingSearch.groupings(of: 3, stageCounts: 2...2) == [[1, 2], [2, 1]])
    }
}
