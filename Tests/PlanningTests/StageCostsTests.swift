import Planning
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
        // Rank 0: 2 samples x 1 layer x (1 + 2) s. Rank 1: 2 samples x 2 layers x (0.5 + 1) s.
        // Boundary: 2 samples x 5 tokens x 10 bytes at 100 bytes/s, and x 2 bytes back, 0.5 s latency each.
        // Memory: 4 P = 1000 a layer, (1 + 2) x 100 for what is trainable, in flight 2 and 1 of 2 samples, the largest
        // transient. A sample's input is 50 bytes, its gradient 10. Stage 0: 2 in flight also keep the result that they sent,
        // one gradient is posted ahead, one send is on its way. Stage 1: its input, which weighs more than the transient
        // while it is taken out of its message, and is the head's as well; one input is posted ahead.
        #expect(
            stages == [
                StagePrediction(
                    forwardSeconds: 2, backwardSeconds: 4, microBatchSeconds: 6, forwardTransferSeconds: 1.5,
                    backwardTransferSeconds: 0.7, allReduceSeconds: 0,
                    memoryBytes: [1000 + 300 + 4 * (40 + 10) + 2 * 5 + 2 * (10 + 50)]),
                StagePrediction(
                    forwardSeconds: 2, backwardSeconds: 4, microBatchSeconds: 6, forwardTransferSeconds: 0,
                    backwardTransferSeconds: 0, allReduceSeconds: 0,
                    memoryBytes: [2000 + 600 + 2 * (80 + 50) + 2 * (50 + 50) + 2 * 50]),
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
        #expect(
            stages == [
                StagePrediction(
                    forwardSeconds: 4.5, backwardSeconds: 9, microBatchSeconds: 13.5,
                    forwardTransferSeconds: 0,
                    backwardTransferSeconds: 0, allReduceSeconds: 4,
                    memoryBytes: [3000 + 300 + 120 + 30 + 50, 3000 + 300 + 360 + 90 + 150])
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
        // Of a sample are kept 80 bytes and the 10 of the result's gradient lane; 90 pass by, and two gradients and a send wait.
        let moving = 90 + 3 * (2 * 10 + 50)
        #expect(bytes(MemoryModel(), 1) == 2000 + 600 + 270 + moving)
        #expect(bytes(MemoryModel(), 4) == 2000 + 600 + 4 * 270 + moving)
        #expect(bytes(MemoryModel(optimizerStateMultiple: 0), 4) == 2000 + 200 + 4 * 270 + moving)
        #expect(bytes(MemoryModel(bucketMultiple: 1), 4) == 2000 + 800 + 4 * 270 + moving)
        #expect(MemoryModel.inFlightCount(stage: 0, stageCount: 4, microBatchCount: 8) == 4)
        #expect(MemoryModel.inFlightCount(stage: 3, stageCount: 4, microBatchCount: 8) == 1)
        #expect(MemoryModel.inFlightCount(stage: 0, stageCount: 4, microBatchCount: 2) == 2)
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
        // Of stage 0's two micro-batches in flight nothing but one's saved bytes; stage 1's input is 5 x 10 bytes a sample.
        // Beside that, as above: 20 of its result, 10 transient, 120 in messages; 200 transient and 100 in a message. With
        // every input received, only a gradient is on its way.
        #expect(
            stages.map(\.memoryBytes) == [
                [1000 + 300 + 80 + 20 + 10 + 120], [2000 + 600 + 100 + 160 + 200 + 100],
            ])
        #expect(
            costs.peakBytes(
                layers: 1..<3, share: 2, inFlightCount: 4, recompute: true, microBatch: (2, 4))
                == 2000 + 600 + 4 * 100 + 160 + 200 + 20)
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
}
