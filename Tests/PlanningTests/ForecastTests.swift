import Planning
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
        #expect(Forecast(plan, profile, epochs: 3, caches: true) == nil)
        plan.predicted = Planner(profile: profile).prediction(of: plan)
        let forecast = try #require(Forecast(plan, profile, epochs: 3, caches: true))
        // 10 samples are 3 steps of 4, each of 20.2 s (`StageCostsTests`).
        #expect(abs(forecast.epochSeconds - 60.6) < 1e-9)
        // Device 0 takes 1.5 x 3 layers x 2 s for a sample, device 1 half: 1/9 and 2/9 samples a second; 4 take 12 s. The
        // gradients, 300 bytes, are summed in 2 x (150 / 100 + 0.5) s.
        #expect(abs(try #require(forecast.cachedEpochSeconds) - 3 * (12 + 4)) < 1e-9)
        #expect(abs(forecast.totalSeconds - 60.6 - 2 * 48) < 1e-9)
        #expect(forecast.devices.map(\.stage) == [0, 1])
        #expect(forecast.devices.map(\.memoryBytes) == plan.predicted!.stages.flatMap(\.memoryBytes))
        #expect(forecast.devices.map(\.firstDiskBytes) == [1000, 2000])
        #expect(zip(forecast.devices, [1000.0, 2000]).allSatisfy { abs($0.cachedDiskBytes - $1) < 1e-9 })

        let without = try #require(Forecast(plan, profile, epochs: 3, caches: false))
        #expect(without.cachedEpochSeconds == nil)
        #expect(abs(without.totalSeconds - 3 * 60.6) < 1e-9)
        #expect(without.devices.allSatisfy { $0.firstDiskBytes == 0 && $0.cachedDiskBytes == 0 })
    }
}
