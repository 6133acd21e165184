import PlanExamples
import Plans
import Testing

@Suite struct ForecastTests {
    @Test("epochs, memory and disk, by hand") func byHand() throws {
        let base = try Profiles.twoDevices()
        let layers = base.layers.map { layer in
            var layer = layer
            layer.cacheBytesPerSample = 100
            return layer
        }
        let profile = try Profile(
            devices: base.devices, layers: layers, links: base.links, meanTokens: base.meanTokens,
            sampleCount: 10)
        var plan = Plan(
            stages: [
                StagePlan(layers: 0..<1, ranks: [0], share: [2]),
                StagePlan(layers: 1..<3, ranks: [1], share: [2]),
            ], microBatchCount: 2)
        let costs = StageCosts(profile: profile)
        #expect(Forecast(plan, costs, epochs: 3, cachedNumberBytes: 4) == nil)
        let stages = costs.predictions(of: plan)
        plan.predicted = Prediction(
            planner: .exact, stepSeconds: LatencyEstimate.bottleneck(stages, microBatchCount: 2),
            stages: stages,
            considered: [])
        let forecast = try #require(Forecast(plan, costs, epochs: 3, cachedNumberBytes: 4))
        // 10 samples are 3 steps of 4, each of 20.2 s (`StageCostsTests`).
        #expect(abs(forecast.epochSeconds - 60.6) < 1e-9)
        // Device 0 takes 1.5 x 3 layers x 2 s for a sample, device 1 half: of 4 samples it gets 1, device 1 gets 3, which take
        // 13.5 s. The gradients, 300 bytes, are summed in 2 x (150 / 100 + 0.5) s.
        #expect(abs(try #require(forecast.cachedEpochSeconds) - 3 * (13.5 + 4)) < 1e-9)
        #expect(abs(forecast.totalSeconds - 60.6 - 2 * 52.5) < 1e-9)
        #expect(forecast.devices.map(\.stage) == [0, 1])
        #expect(forecast.devices.map(\.memoryBytes) == plan.predicted!.stages.flatMap(\.memoryBytes))
        #expect(forecast.devices.map(\.firstDiskBytes) == [1000, 2000])
        #expect(zip(forecast.devices, [750.0, 2250]).allSatisfy { abs($0.cachedDiskBytes - $1) < 1e-9 })
        // In two bytes a number the files are half as large; rows in memory stay as they are.
        let halved = try #require(Forecast(plan, costs, epochs: 3, cachedNumberBytes: 2))
        #expect(halved.devices.map(\.firstDiskBytes) == [500, 1000])
        #expect(zip(halved.devices, [375.0, 1125]).allSatisfy { abs($0.cachedDiskBytes - $1) < 1e-9 })
        #expect(halved.devices.map(\.cachedMemoryBytes) == forecast.devices.map(\.cachedMemoryBytes))
        // The head's 900 frozen bytes, 300 trained ones with gradients and AdamW's two moments, and for each sample the 300
        // bytes of its rows and as many read ahead, as backward keeps only 120, and the block's transient.
        #expect(forecast.devices.map(\.cachedMemoryBytes) == [2100 + 630, 2100 + 3 * 630])
        #expect(costs.cachedMemoryShortage(of: plan) == nil)

        // A frozen stage of 7 s less half of the 4 s that backward takes: 3 x 2 micro-batches of 5 s, then three epochs.
        #expect(forecast.streamSeconds == nil)
        plan.predicted?.stages[0].forwardSeconds = 7
        plan.predicted?.stages[0].backwardSeconds = 4
        let streaming = try #require(Forecast(plan, costs, epochs: 3, streams: true, cachedNumberBytes: 4))
        #expect(abs(try #require(streaming.streamSeconds) - 30) < 1e-9)
        #expect(abs(streaming.totalSeconds - 30 - 3 * 52.5) < 1e-9)

        let without = try #require(
            Forecast(
                plan, StageCosts(profile: profile, memory: MemoryModel(fillsCache: false)), epochs: 3,
                cachedNumberBytes: 4))
        #expect(without.cachedEpochSeconds == nil)
        #expect(abs(without.totalSeconds - 3 * 60.6) < 1e-9)
        #expect(
            without.devices.allSatisfy {
                $0.firstDiskBytes == 0 && $0.cachedDiskBytes == 0 && $0.cachedMemoryBytes == 0
            })
    }
}
