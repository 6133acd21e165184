import PlanExamples
import Planning
import Plans
import Support
import Testing

/// Eq. (3) to (6) and the links written down a second time, as plainly as possible.
private struct NaiveModel {
    let profile: Profile
    let kind: PlannerKind

    func isFeasible(_ plan: Plan) -> Bool {
        let memory = NaiveMemory(profile: profile)
        return plan.stages.enumerated().allSatisfy { index, stage in
            zip(stage.ranks, stage.share).allSatisfy { rank, share in
                guard let budget = profile.devices[rank].memoryBudgetBytes else { return true }
                return memory.bytes(plan, stage: index, share: share) <= budget
            }
        }
    }

    private func slowest(_ stage: StagePlan, _ seconds: (Int, Int, Double) -> Double) -> Double {
        zip(stage.ranks, stage.share).map { rank, share in
            stage.layers.map { seconds(rank, $0, Double(share)) }.reduce(0, +)
        }.max()!
    }

    private func forward(_ stage: StagePlan) -> Double {
        slowest(stage) { profile.forwardSeconds(device: $0, layer: $1, samples: $2) }
    }

    private func backward(_ stage: StagePlan) -> Double {
        slowest(stage) { profile.backwardSeconds(device: $0, layer: $1, samples: $2) }
    }

    private func both(_ stage: StagePlan) -> Double {
        slowest(stage) {
            profile.forwardSeconds(device: $0, layer: $1, samples: $2)
                + profile.backwardSeconds(device: $0, layer: $1, samples: $2)
        }
    }

    /// Row by row: who has it, who needs it.
    private func transfer(_ plan: Plan, after stage: Int, _ bytesPerSample: Double) -> Double {
        guard stage + 1 < plan.stages.count else { return 0 }
        func owners(_ stage: StagePlan) -> [Int] {
            zip(stage.ranks, stage.share).flatMap { Array(repeating: $0, count: $1) }
        }
        var rows: [[Int]: Int] = [:]
        for (a, b) in zip(owners(plan.stages[stage]), owners(plan.stages[stage + 1])) {
            rows[[a, b], default: 0] += 1
        }
        var busy: [Int: Double] = [:]
        for pair in rows.keys.sorted(by: { ($0[0], $0[1]) < ($1[0], $1[1]) }) {
            let link = profile.link(pair[0], pair[1])
            let seconds = link.latencySeconds + Double(rows[pair]!) * bytesPerSample / link.bandwidth
            for rank in pair { busy[rank, default: 0] += seconds }
        }
        return busy.values.max()!
    }

    private func forwardTransfer(_ plan: Plan, _ i: Int) -> Double {
        let layer = profile.layers[plan.stages[i].layers.upperBound - 1]
        return transfer(
            plan, after: i,
            7.5 * layer.forwardBytesPerToken.source + 2.25 * layer.forwardBytesPerToken.target)
    }

    private func backwardTransfer(_ plan: Plan, _ i: Int) -> Double {
        let layer = profile.layers[plan.stages[i].layers.upperBound - 1]
        return transfer(
            plan, after: i,
            7.5 * layer.backwardBytesPerToken.source + 2.25 * layer.backwardBytesPerToken.target)
    }

    private func allReduce(_ stage: StagePlan) -> Double {
        let bytes = profile.layers[stage.layers].reduce(0.0) { $0 + Double($1.trainableBytes) }
        let g = Double(stage.ranks.count)
        guard g > 1, bytes > 0 else { return 0 }
        let worst = stage.ranks.flatMap { a in
            stage.ranks.filter { $0 != a }.map { b in
                profile.link(a, b).latencySeconds + bytes / g / profile.link(a, b).bandwidth
            }
        }.max()!
        return 2 * (g - 1) * worst
    }

    func bottleneck(_ plan: Plan) -> Double {
        plan.stages.indices.map { i in
            max(
                both(plan.stages[i]),
                kind == .exact ? forwardTransfer(plan, i) + backwardTransfer(plan, i) : 0)
        }.max()!
    }

    func step(_ plan: Plan) -> Double {
        let (s, m) = (plan.stages.count, Double(plan.microBatchCount))
        func ef(_ i: Int) -> Double { forward(plan.stages[i]) }
        func eb(_ i: Int) -> Double { backward(plan.stages[i]) }
        func cf(_ i: Int) -> Double { forwardTransfer(plan, i) }
        func cb(_ i: Int) -> Double { backwardTransfer(plan, i) }
        func sum(_ range: Range<Int>, _ term: (Int) -> Double) -> Double { range.map(term).reduce(0, +) }
        switch kind {
        case .paper:
            let beginning = sum(0..<s - 1) { ef($0) + cf($0) }
            let endings = (0..<s).map { i in allReduce(plan.stages[i]) + sum(i..<s - 1) { eb($0) + cb($0) } }
            return beginning + m * (ef(s - 1) + eb(s - 1)) + endings.max()!
        case .exact:
            let once = sum(0..<s) { ef($0) + cf($0) } + sum(0..<s) { eb($0) + cb($0) }
            let left = (0..<s).map { i in allReduce(plan.stages[i]) - sum(0..<i) { eb($0) + cb($0) } }
            return once + (m - 1) * bottleneck(plan) + left.max()!
        }
    }
}

/// All ways to cut `count` things into `parts` non-empty runs, as the runs.
private func cuts(_ count: Int, _ parts: Int, from start: Int = 0) -> [[Range<Int>]] {
    guard parts > 1 else { return start < count ? [[start..<count]] : [] }
    return (start + 1..<max(count, start + 2)).flatMap { end in
        cuts(count, parts - 1, from: end).map { [start..<end] + $0 }
    }
}

private func everyPlan(
    layerCount: Int, deviceCount: Int, stageCount: Int, microBatchCount: Int, microBatchSize: Int
) -> [Plan] {
    cuts(layerCount, stageCount).flatMap { layers in
        cuts(deviceCount, stageCount).map { devices in
            Plan(
                stages: zip(layers, devices).map { layers, devices in
                    let share = devices.indices.map { i in
                        microBatchSize / devices.count
                            + (i - devices.lowerBound < microBatchSize % devices.count ? 1 : 0)
                    }
                    return StagePlan(layers: layers, ranks: Array(devices), share: share)
                }, microBatchCount: microBatchCount)
        }
    }
}

private func isClose(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= 1e-12 * max(abs(a), abs(b)) }

@Suite("Planner")
struct PlannerTests {
    @Test(
        "equals brute force under its own cost model in the given order on 500 random instances",
        arguments: PlannerKind.allCases
    )
    func bruteForce(kind: PlannerKind) throws {
        var (infeasibleCount, feasibleCount) = (0, 0)
        var ratios: [Double] = []
        for seed in 0..<UInt64(500) {
            let random = CounterRandom(seed, 77)
            func draw(_ index: UInt64, _ range: ClosedRange<Int>) -> Int {
                range.lowerBound + Int(random.uniform(at: index) * Double(range.count))
            }
            let (layerCount, deviceCount) = (draw(0, 1...8), draw(1, 1...5))
            let miniBatchSize = draw(2, 1...12)
            let profile = try Profiles.random(seed: seed, layerCount: layerCount, deviceCount: deviceCount)
            let planner = Planner(kind: kind, profile: profile, freedom: .givenOrder)
            let naive = NaiveModel(profile: profile, kind: kind)
            var bestStep = Double.infinity
            var bestPossibleStep = Double.infinity
            for count in 1...miniBatchSize where miniBatchSize % count == 0 {
                for stageCount in 1...deviceCount {
                    let feasible = everyPlan(
                        layerCount: layerCount, deviceCount: deviceCount, stageCount: stageCount,
                        microBatchCount: count, microBatchSize: miniBatchSize / count
                    ).filter(naive.isFeasible)
                    let plan: Plan
                    do {
                        plan = try planner.plan(
                            miniBatchSize: miniBatchSize, microBatchCount: count,
                            stageCounts: stageCount...stageCount)
                    } catch let failure as Failure {
                        #expect(feasible.isEmpty, "seed \(seed): \(failure)")
                        infeasibleCount += 1
                        continue
                    }
                    let smallest = try #require(feasible.map(naive.bottleneck).min(), "seed \(seed): \(plan)")
                    let step = try #require(plan.predicted).stepSeconds
                    try plan.validate(
                        layerCount: layerCount, worldSize: deviceCount, miniBatchSize: miniBatchSize)
                    #expect(plan.stages.flatMap(\.ranks) == Array(0..<deviceCount))
                    #expect(naive.isFeasible(plan))
                    #expect(isClose(naive.bottleneck(plan), smallest), "seed \(seed): \(plan)")
                    #expect(isClose(naive.step(plan), step), "seed \(seed): \(plan)")
                    #expect(
                        plan.predicted?.considered == [
                            PlanCandidate(
                                stageCount: stageCount,
                                outcome: .feasible(
                                    microBatchCount: count, stepSeconds: step,
                                    bottleneckSeconds: kind.bottleneckSeconds(plan.predicted!.stages)))
                        ])
                    bestStep = min(bestStep, step)
                    bestPossibleStep = min(bestPossibleStep, feasible.map(naive.step).min()!)
                    feasibleCount += 1
                }
            }
            if bestStep < .infinity {
                let plan = try planner.plan(miniBatchSize: miniBatchSize)
                #expect(plan.predicted?.stepSeconds == bestStep)
                #expect(
                    plan.predicted?.considered.map(\.stageCount)
                        == Array(1...min(deviceCount, layerCount + 1)))
                ratios.append(bestStep / bestPossibleStep)
            } else {
                #expect(throws: Failure.self) { try planner.plan(miniBatchSize: miniBatchSize) }
            }
        }
        #expect(infeasibleCount > 100)
        #expect(feasibleCount > 1000)
        let mean = ratios.reduce(0, +) / Double(ratios.count)
        print(
            "\(kind.rawValue): \(feasibleCount) feasible and \(infeasibleCount) infeasible cases; its step over the least "
                + "possible by its own estimate: mean \(mean), worst \(ratios.max()!)")
    }

    @Test("an infeasible model says for each number of stages what is missing")
    func infeasible() throws {
        let planner = Planner(profile: try Profiles.twoDevices(budgets: [2000, 1000]))
        // One stage: 3000 + 900 + 120 + 10 + 50. Two: layers 0 and 1 on rank 0 need 2000 + 600 + 160 for one micro-batch
        // that is computed again, and 70 for messages; the other cut misses more.
        #expect(
            throws: Failure.configuration(
                "plan: infeasible: 1 stage: in the closest plan with 2 micro-batches, rank 0 needs 4080 bytes for layers "
                    + "0-2 on ranks 0, 1 (shares 1, 0), its budget is 2000; 2 stages: in the closest plan with 2 "
                    + "micro-batches, rank 0 needs 2830 bytes for layers 0-1 on rank 0 (share 1), recomputed, its budget is 2000"
            )
        ) { try planner.plan(miniBatchSize: 2) }
    }

    @Test("what is infeasible beside a plan is kept with the reason")
    func infeasibleAlternative() throws {
        // Only the cut after layer 0 fits: rank 0 has 1000 + 300 and, with both forwards over, 40 + 10 + 40 + 50 + 2 x (10
        // + 50).
        let planner = Planner(kind: .paper, profile: try Profiles.twoDevices(budgets: [1600, nil]))
        let plan = try planner.plan(miniBatchSize: 2)
        #expect(plan.stages.map(\.layers) == [0..<1, 1..<3])
        let outcomes = try #require(plan.predicted).considered.map(\.outcome)
        #expect(
            outcomes[0]
                == .infeasible(
                    reason:
                        "in the closest plan with 2 micro-batches, rank 0 needs 4080 bytes for layers 0-2 on ranks "
                        + "0, 1 (shares 1, 0), its budget is 1600"))
        guard case .feasible = outcomes[1] else {
            Issue.record("expected two stages to be feasible, found \(outcomes[1])")
            return
        }
    }

    @Test("more stages than layers are infeasible, not a crash")
    func moreStagesThanLayers() throws {
        let profile = try Profiles.random(seed: 2, layerCount: 2, deviceCount: 5, budgets: false)
        let plan = try Planner(profile: profile).plan(miniBatchSize: 4)
        let considered = try #require(plan.predicted).considered
        #expect(considered.map(\.stageCount) == [1, 2, 3])
        #expect(considered[2].outcome == .infeasible(reason: "the model has 2 layers only"))
        #expect(
            throws: Failure.configuration("plan: infeasible: 5 stages: the model has 2 layers only")
        ) { try BaselinePlans.ecoFL(profile: profile, miniBatchSize: 4, microBatchCount: nil) }
    }

    @Test("a micro-batch count that does not divide the mini-batch is refused", arguments: [0, 3, 17])
    func badMicroBatchCount(count: Int) throws {
        let planner = Planner(profile: try Profiles.twoDevices())
        #expect(
            throws: Failure.configuration(
                "plan: expected a micro-batch count that divides the mini-batch size 16, found \(count)")
        ) { try planner.plan(miniBatchSize: 16, microBatchCount: count) }
    }

    @Test("only the given ranks are used, in the given order")
    func orderedSubset() throws {
        let profile = try Profiles.random(seed: 9, layerCount: 6, deviceCount: 4, budgets: false)
        let plan = try Planner(profile: profile, freedom: .givenOrder).plan(
            miniBatchSize: 8, ranks: [3, 0, 2])
        #expect(plan.stages.flatMap(\.ranks) == [3, 0, 2])
        try plan.validate(layerCount: 6, worldSize: 4, miniBatchSize: 8)
    }

    @Test("a plan survives its file")
    func planFile() throws {
        let profile = try Profiles.random(seed: 9, layerCount: 6, deviceCount: 4)
        let plan = try Planner(profile: profile).plan(miniBatchSize: 8)
        let value = try JSONValue(parsing: Array(plan.json.text(indented: true).utf8), file: "plan.json")
        #expect(try Plan(JSONReader(value, file: "plan.json"), miniBatchSize: 8) == plan)
    }

    @Test("the prediction of a written plan is the planner's own for the same plan")
    func predictionOfPlan() throws {
        let planner = Planner(
            profile: try Profiles.random(seed: 4, layerCount: 7, deviceCount: 3, budgets: false))
        let plan = try planner.plan(miniBatchSize: 6)
        let prediction = planner.prediction(of: plan)
        #expect(prediction.stages == plan.predicted?.stages)
        #expect(prediction.stepSeconds == plan.predicted?.stepSeconds)
    }
}

@Suite("BaselinePlans")
struct BaselinePlansTests {
    private let profile: Profile

    init() throws { profile = try Profiles.random(seed: 21, layerCount: 7, deviceCount: 4, budgets: false) }

    @Test("each baseline has the shape of its system")
    func shapes() throws {
        let standalone = try BaselinePlans.standalone(profile: profile, miniBatchSize: 8, microBatchCount: 2)
        #expect(standalone.stages == [StagePlan(layers: 0..<7, ranks: [0], share: [4])])
        let eddl = try BaselinePlans.eddl(profile: profile, miniBatchSize: 12, microBatchCount: 2)
        #expect(eddl.stages == [StagePlan(layers: 0..<7, ranks: [0, 1, 2, 3], share: [2, 2, 1, 1])])
        let ecoFL = try BaselinePlans.ecoFL(profile: profile, miniBatchSize: 8, microBatchCount: 4)
        #expect(ecoFL.stages.map(\.ranks) == [[0], [1], [2], [3]])
        #expect(ecoFL.stages.allSatisfy { $0.share == [2] })
        for plan in [standalone, ecoFL] { try plan.validate(layerCount: 7, worldSize: 4, miniBatchSize: 8) }
        try eddl.validate(layerCount: 7, worldSize: 4, miniBatchSize: 12)
        #expect([standalone, eddl, ecoFL].map(\.microBatchCount) == [2, 2, 4])
    }

    @Test("a baseline neither reorders, leaves out, recomputes nor gives uneven shares")
    func noFreedom() throws {
        // The second rank alone would be 16 times as fast, and memory asks for recomputation.
        let devices = [Profiles.HomeDevice.pi, .laptop, .pi, .nano]
        let memory = MemoryModel(optimizerStateMultiple: 0)
        let eddl = try BaselinePlans.eddl(
            profile: try Profiles.home(devices, tunesAll: false), miniBatchSize: 16, microBatchCount: nil,
            memory: memory)
        #expect(eddl.stages.map(\.ranks) == [[0, 1, 2, 3]])
        let ecoFL = try BaselinePlans.ecoFL(
            profile: try Profiles.home(devices, tunesAll: true), miniBatchSize: 16, microBatchCount: 8,
            memory: memory)
        #expect(ecoFL.stages.map(\.ranks) == [[0], [1], [2], [3]])
        for stage in eddl.stages + ecoFL.stages {
            #expect(!stage.recompute)
            #expect(stage.share.max()! - stage.share.min()! <= 1)
        }
    }

    @Test("baselines of a thousand ranks: one stage on all is a plan, a stage for each needs as many layers")
    func thousandRanks() throws {
        let profile = try Profiles.home(
            Array(repeating: .laptop, count: 1000), layerCount: 60, tunesAll: false)
        let eddl = try BaselinePlans.eddl(profile: profile, miniBatchSize: 2000, microBatchCount: 1)
        #expect(eddl.stages[0].share == Array(repeating: 2, count: 1000))
        #expect(
            throws: Failure.configuration("plan: infeasible: 1000 stages: the model has 60 layers only")
        ) { try BaselinePlans.ecoFL(profile: profile, miniBatchSize: 16, microBatchCount: nil) }
        #expect(throws: Failure.self) {
            try Planner(kind: .paper, profile: profile).plan(miniBatchSize: 16, microBatchCount: 16)
        }
    }

    @Test("the default planner's plan is never slower than EDDL's or Eco-FL's by its own estimate")
    func neverSlower() throws {
        let step = try #require(Planner(profile: profile).plan(miniBatchSize: 8).predicted).stepSeconds
        for plan in [
            try BaselinePlans.eddl(profile: profile, miniBatchSize: 8, microBatchCount: nil),
            try BaselinePlans.ecoFL(profile: profile, miniBatchSize: 8, microBatchCount: nil),
        ] {
            #expect(step <= (try #require(plan.predicted).stepSeconds))
        }
    }

    @Test("a baseline that does not fit is infeasible")
    func infeasible() throws {
        let profile = try Profiles.twoDevices(budgets: [4000, nil])
        #expect(throws: Failure.self) {
            try BaselinePlans.standalone(profile: profile, miniBatchSize: 2, microBatchCount: nil)
        }
        _ = try BaselinePlans.ecoFL(profile: profile, miniBatchSize: 2, microBatchCount: nil)
    }
}
