import PlanExamples
import Plans
import Testing

@Suite("StageCosts and LatencyEstimate")
struct StageCostsTests {
    /// Layer 0 on rank 0, layers 1 and 2 on rank 1, two micro-batches of 2 samples.
    private let pipeline = Plan(
        stages: [
            StagePlan(layers: 0..<1, ranks: [0], share: [2]),
            StagePlan(layers: 1..<3, ranks: [1], share: [2]),
        ], microBatchCount: 2)

    @Test("a pipeline of two, by hand")
    func pipelineByHand() throws {
        let stages = StageCosts(profile: try Profiles.twoDevices()).predictions(of: pipeline)
        // Rank 0: 2 samples x 1 layer x (1 + 2) s. Rank 1: 2 samples x 2 layers x (0.5 + 1) s. Boundary: 2 samples x 5
        // tokens x 10 bytes at 100 bytes/s, and x 2 bytes back, 0.5 s latency each. Memory: 4 P = 1000 a layer, (1 + 2) x
        // 100 for what is trainable, in flight 2 and 1 of 2 samples. A sample's result is 50 bytes, its gradient 10. Stage
        // 0, when the second forward is over: both keep 40 a sample, the first one its result for backward, the second
        // one's is being packed; two gradients are posted, two sends on their way. Stage 1, in its head: the stage's input,
        // what both layers keep, the head's transient and input; one input is posted ahead.
        #expect(
            stages == [
                StagePrediction(
                    forwardSeconds: 2, backwardSeconds: 4, microBatchSeconds: 6, forwardTransferSeconds: 1.5,
                    backwardTransferSeconds: 0.7, allReduceSeconds: 0,
                    memoryBytes: [1000 + 300 + 4 * 40 + 2 * (10 + 50) + 2 * 2 * (10 + 50)]),
                StagePrediction(
                    forwardSeconds: 2, backwardSeconds: 4, microBatchSeconds: 6, forwardTransferSeconds: 0,
                    backwardTransferSeconds: 0, allReduceSeconds: 0,
                    memoryBytes: [2000 + 600 + 2 * 50 + 2 * (80 + 10 + 50) + 2 * 50]),
            ])
        // Eq. (4) to (6): (2 + 1.5) + 2 x 6 + (4 + 0.7).
        #expect(abs(LatencyEstimate.paper(stages, microBatchCount: 2) - 20.2) < 1e-12)
        // F: (6 + 2.2 + 6) + 1 x 6 + 0.
        #expect(abs(LatencyEstimate.bottleneck(stages, microBatchCount: 2) - 20.2) < 1e-12)
    }

    @Test("a stage group of two, by hand")
    func groupByHand() throws {
        let profile = try Profiles.twoDevices()
        let plan = Plan(
            stages: [StagePlan(layers: 0..<3, ranks: [0, 1], share: [1, 3])], microBatchCount: 1)
        let stages = StageCosts(profile: profile, memory: MemoryModel(optimizerStateMultiple: 0)).predictions(
            of: plan)
        // Rank 1's 3 samples take 3 x 3 x 0.5 = 4.5 s forward, rank 0's one 3 s. Ring: 2 x (150 bytes / 100 + 0.5).
        // Memory is largest in the head, beside what all three layers keep.
        #expect(
            stages == [
                StagePrediction(
                    forwardSeconds: 4.5, backwardSeconds: 9, microBatchSeconds: 13.5,
                    forwardTransferSeconds: 0,
                    backwardTransferSeconds: 0, allReduceSeconds: 4,
                    memoryBytes: [3000 + 300 + 120 + 10 + 50, 3000 + 300 + 360 + 30 + 150])
            ])
        #expect(LatencyEstimate.paper(stages, microBatchCount: 1) == 17.5)
        #expect(LatencyEstimate.bottleneck(stages, microBatchCount: 1) == 17.5)
    }

    @Test("memory follows the optimizer, the buckets and the micro-batches in flight")
    func memory() throws {
        let profile = try Profiles.twoDevices()
        func bytes(_ memory: MemoryModel, _ inFlightCount: Int) -> Int {
            StageCosts(profile: profile, memory: memory)
                .peakBytes(layers: 0..<2, share: 3, inFlightCount: inFlightCount, microBatch: (6, 4))
        }
        // One in flight: while the block runs, 80 bytes of a sample are kept, 30 pass by, its input is there, and two
        // gradients and a send wait.
        #expect(bytes(MemoryModel(), 1) == 2000 + 600 + 3 * (80 + 30 + 50) + 3 * (2 * 10 + 50))
        // Four: when the last forward before the first backward is over, all keep their 80 and three their result's 10, the
        // fourth's result is being packed, and two gradients and four sends wait.
        let inFlight = 12 * 80 + 9 * 10 + 3 * 50 + 3 * (2 * 10 + 4 * 50)
        #expect(bytes(MemoryModel(), 4) == 2000 + 600 + inFlight)
        #expect(bytes(MemoryModel(optimizerStateMultiple: 0), 4) == 2000 + 200 + inFlight)
        #expect(bytes(MemoryModel(bucketMultiple: 1), 4) == 2000 + 800 + inFlight)
        #expect(
            PipelineSchedule.oneForwardOneBackward.inFlightCount(stage: 0, stageCount: 4, microBatchCount: 8)
                == 4)
        #expect(
            PipelineSchedule.oneForwardOneBackward.inFlightCount(stage: 3, stageCount: 4, microBatchCount: 8)
                == 1)
        #expect(
            PipelineSchedule.oneForwardOneBackward.inFlightCount(stage: 0, stageCount: 4, microBatchCount: 2)
                == 2)
    }

    @Test("a stage that recomputes keeps its inputs and runs forward twice")
    func recompute() throws {
        var plan = pipeline
        plan.stages[0].recompute = true
        plan.stages[1].recompute = true
        let costs = StageCosts(profile: try Profiles.twoDevices())
        let stages = costs.predictions(of: plan)
        // Backward is forward plus backward: 2 + 4 s on both.
        #expect(stages.map(\.forwardSeconds) == [2, 2])
        #expect(stages.map(\.backwardSeconds) == [6, 6])
        #expect(stages.map(\.microBatchSeconds) == [8, 8])
        // Stage 0 has nothing but the result that is packed and its messages when both forwards are over; the last stage
        // has one in flight as it is. With every input received, only a gradient is on its way.
        #expect(
            stages.map(\.memoryBytes) == [
                [1000 + 300 + 2 * 50 + 2 * 2 * (10 + 50)],
                [2000 + 600 + 2 * 50 + 2 * (80 + 10 + 50) + 2 * 50],
            ])
        #expect(
            costs.peakBytes(
                layers: 1..<3, share: 2, inFlightCount: 4, recompute: true, microBatch: (2, 4))
                == 2000 + 600 + 4 * 100 + 2 * (80 + 10 + 50) + 20)
    }

    @Test("the all-reduce left over is what the first stage's last backward does not hide")
    func allReduceTail() {
        func stage(_ allReduce: Double) -> StagePrediction {
            StagePrediction(
                forwardSeconds: 1, backwardSeconds: 2, microBatchSeconds: 3, forwardTransferSeconds: 0.25,
                backwardTransferSeconds: 0.25, allReduceSeconds: allReduce, memoryBytes: [])
        }
        func seconds(_ allReduces: [Double]) -> Double {
            LatencyEstimate.bottleneck(allReduces.map(stage), microBatchCount: 5) - 3 * 3.5 - 4 * 3
        }
        #expect(seconds([0, 0, 0]) == 0)
        #expect(seconds([1, 0, 0]) == 1)
        #expect(seconds([0, 2.25, 0]) == 0)
        #expect(seconds([0, 3.25, 0]) == 1)
        #expect(seconds([0, 0, 6.5]) == 2)
        #expect(seconds([3, 4, 6.5]) == 3)
    }

    @Test("samples that differ in length, by hand")
    func samplesThatDifferInLengthByHand() throws {
        let costs = StageCosts(
            profile: try Profiles.twoDevices(), memory: MemoryModel(optimizerStateMultiple: 0))
        func mean(_ plan: Plan, _ miniBatches: [[Int]]) throws -> Double {
            var priced = plan
            let stages = costs.predictions(of: plan)
            priced.predicted = Prediction(planner: .exact, stepSeconds: 0, stages: stages, considered: [])
            return try #require(costs.meanStepSeconds(of: priced, miniBatches: miniBatches))
        }
        // The mean length is 5: nothing changes.
        #expect(abs(try mean(pipeline, [[5, 5, 5, 5]]) - 20.2) < 1e-12)
        // Micro-batches that weigh 2 and 6 samples, 4 in the mean: 3 s a sample in each stage, links as before.
        #expect(abs(try mean(pipeline, [[5, 5, 15, 15]]) - (12 + 2.2 + 12 + 12)) < 1e-12)
        let group = Plan(
            stages: [StagePlan(layers: 0..<3, ranks: [0, 1], share: [1, 3])], microBatchCount: 1)
        // Rank 0's one sample takes 9 s at the mean length, rank 1's three 13.5 s; then 4 s for the ring. A sample of twice
        // the length makes rank 0 the slower one, of 18 s.
        #expect(abs(try mean(group, [[5, 5, 5, 5], [10, 5, 5, 5]]) - (17.5 + 22) / 2) < 1e-12)
        // A short mini-batch, which rank 0 alone has.
        #expect(abs(try mean(group, [[5]]) - (9 + 4)) < 1e-12)
        #expect(costs.meanStepSeconds(of: group, miniBatches: [[5]]) == nil)
    }
}
