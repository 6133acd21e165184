import Plans
import Support

/// Profiles for tests, made up from a seed or written down.
package enum Profiles {
    /// Devices of different speed, uneven layers, uneven links; with budgets, some devices have one that binds now and
    /// then.
    ///
    /// - Parameter kinds: devices of the same kind are equal in everything; nil makes all different.
    /// - Parameter savedBytes: the most that a layer saves for a sample; 200 is little beside the parameters.
    package static func random(
        seed: UInt64, layerCount: Int, deviceCount: Int, budgets: Bool = true, kinds: [Int]? = nil,
        savedBytes: Double = 200
    ) throws -> Profile {
        let random = CounterRandom(seed)
        var position: UInt64 = 0
        func draw(_ low: Double, _ high: Double) -> Double {
            position += 1
            return low + (high - low) * random.uniform(at: position)
        }
        let layers = (0..<layerCount).map { index in
            let parameters = Int(draw(0, 1000))
            return LayerProfile(
                name: "layer \(index)", kind: .encoderBlock, parameterBytes: parameters,
                trainableBytes: Int(draw(0, 1) * Double(parameters)),
                forwardBytesPerToken: TokenCounts(source: draw(0, 50), target: draw(0, 20)),
                backwardBytesPerToken: TokenCounts(source: draw(0, 10), target: draw(0, 5)),
                savedBytesPerSample: draw(0, savedBytes), transientBytesPerSample: draw(0, 300))
        }
        let sizes = [1, 2, 4, 8]
        let kinds = kinds ?? Array(0..<deviceCount)
        var models: [Int: DeviceProfile] = [:]
        let devices = (0..<deviceCount).map { rank in
            if var device = models[kinds[rank]] {
                device.rank = rank
                return device
            }
            let speed = draw(0.5, 4)
            let times = layers.map { _ in
                let (work, overhead) = (draw(0.1, 1) / speed, draw(0, 0.2))
                let forward = sizes.map { overhead + work * Double($0) * draw(0.9, 1.1) }
                return LayerTimes(forwardSeconds: forward, backwardSeconds: forward.map { $0 * draw(0.3, 2) })
            }
            let device = DeviceProfile(
                rank: rank, host: "host-\(rank)", coreCount: 4, memoryBytes: 1 << 30,
                memoryBudgetBytes: budgets && draw(0, 1) < 0.5 ? Int(draw(2000, 16000)) : nil,
                blasCore: "Haswell",
                microBatchSizes: sizes, layers: times)
            models[kinds[rank]] = device
            return device
        }
        var drawn: [[Int]: (Double, Double)] = [:]
        var links: [LinkProfile] = []
        for a in 0..<deviceCount {
            for b in 0..<a {
                let pair = [min(kinds[a], kinds[b]), max(kinds[a], kinds[b])]
                let link = drawn[pair] ?? (draw(100, 20000), draw(0, 0.05))
                drawn[pair] = link
                links.append(LinkProfile(ranks: (a, b), bandwidth: link.0, latencySeconds: link.1))
            }
        }
        return try Profile(
            devices: devices, layers: layers, links: links, meanTokens: TokenCounts(source: 7.5, target: 2.25)
        )
    }

    /// Two ranks, three layers, round numbers: device 0 takes 1 s a sample and layer forward, 2 s backward; device 1 half.
    package static func twoDevices(budgets: [Int?] = [nil, nil]) throws -> Profile {
        let layers = (0..<3).map { index in
            LayerProfile(
                name: ["embedding", "block", "head"][index],
                kind: [LayerProfile.Kind.embedding, .encoderBlock, .head][index],
                parameterBytes: 1000, trainableBytes: 100, forwardBytesPerToken: TokenCounts(source: 10),
                backwardBytesPerToken: TokenCounts(source: 2), savedBytesPerSample: 40,
                transientBytesPerSample: [5, 30, 10][index])
        }
        let devices = [1.0, 0.5].enumerated().map { rank, seconds in
            DeviceProfile(
                rank: rank, host: "board-\(rank)", coreCount: 4, memoryBytes: 4_000_000_000,
                memoryBudgetBytes: budgets[rank], blasCore: "Cortex-A57", microBatchSizes: [1, 2],
                layers: layers.map { _ in
                    LayerTimes(
                        forwardSeconds: [seconds, 2 * seconds], backwardSeconds: [2 * seconds, 4 * seconds])
                })
        }
        return try Profile(
            devices: devices, layers: layers,
            links: [LinkProfile(ranks: (0, 1), bandwidth: 100, latencySeconds: 0.5)],
            meanTokens: TokenCounts(source: 5))
    }
}
