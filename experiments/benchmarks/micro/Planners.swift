import Planning
import Plans
import Support

/// The planner on 48 layers and 8 devices of two kinds, all divisors of a mini-batch of 16.
func measurePlanner() throws {
    let profile = try twoKinds(layerCount: 48, deviceCount: 8)
    let planner = Planner(profile: profile, schedule: .oneForwardOneBackward)
    let seconds = try medianSeconds { _ = try planner.plan(miniBatchSize: 16) }
    report("planner", "48 layers x 8 devices", [("seconds", seconds)])
}

/// Devices of two kinds in turn, one half as fast, on links of 1 Gbit/s; layers that differ a little.
private func twoKinds(layerCount: Int, deviceCount: Int) throws -> Profile {
    let layers = (0..<layerCount).map { index in
        LayerProfile(
            name: "layer \(index)", kind: .encoderBlock, parameterBytes: 30 << 20, trainableBytes: 1 << 20,
            forwardBytesPerToken: TokenCounts(source: 3072), backwardBytesPerToken: TokenCounts(source: 384),
            savedBytesPerSample: 1e6, transientBytesPerSample: 2e6)
    }
    let sizes = [1, 2, 4, 8]
    let devices = (0..<deviceCount).map { rank in
        let slowness = rank % 2 == 0 ? 1.0 : 2.0
        let times = (0..<layerCount).map { layer in
            let work = 0.01 * slowness * (1 + 0.1 * Double(layer % 5))
            return LayerTimes(
                forwardSeconds: sizes.map { 0.001 + work * Double($0) },
                backwardSeconds: sizes.map { 0.001 + 0.3 * work * Double($0) })
        }
        return DeviceProfile(
            rank: rank, host: "host-\(rank)", coreCount: 4, memoryBytes: 8 << 30, memoryBudgetBytes: nil,
            blasCore: "Haswell", microBatchSizes: sizes, layers: times)
    }
    let links = (0..<deviceCount).flatMap { a in
        (0..<a).map { LinkProfile(ranks: (a, $0), bandwidth: 119e6, latencySeconds: 1e-4) }
    }
    return try Profile(devices: devices, layers: layers, links: links, meanTokens: TokenCounts(source: 128))
}
