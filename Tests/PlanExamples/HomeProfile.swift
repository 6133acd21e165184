import Plans

extension Profiles {
    /// Devices of a mixed home by the rates, memories and the network of published boards.
    package enum HomeDevice: Int, CaseIterable {
        case laptop
        case nano
        case pi

        var flopsPerSecond: Double { [350e9, 150e9, 22e9][rawValue] }
        var budgetBytes: Int { Int([8, 1.7, 2.5][rawValue] * 1_073_741_824) }
    }

    /// T5-Base with 128 source tokens on such devices at 1 Gbit/s: an embedding, 12 blocks of each stack as one kind, a
    /// head.
    ///
    /// - Parameter tunesAll: full tuning, where backward takes twice forward and keeps everything; else Parallel
    ///   Adapters, where little is trained, kept and sent back.
    package static func home(_ devices: [HomeDevice], layerCount: Int = 26, tunesAll: Bool) throws -> Profile
    {
        let layers = (0..<layerCount).map { index in
            let isBlock = index > 0 && index < layerCount - 1
            let parameters = isBlock ? 32_000_000 : 98_000_000
            return LayerProfile(
                name: "layer \(index)", kind: isBlock ? .encoderBlock : index == 0 ? .embedding : .head,
                parameterBytes: parameters, trainableBytes: tunesAll ? parameters : isBlock ? 900_000 : 0,
                forwardBytesPerToken: TokenCounts(source: tunesAll ? 3072 : 3456),
                backwardBytesPerToken: TokenCounts(source: tunesAll ? 3072 : 384),
                savedBytesPerSample: tunesAll ? 9.4e6 : 1.2e6, transientBytesPerSample: 4e6)
        }
        let profiles = devices.enumerated().map { rank, device in
            let times = layers.map { layer in
                let flops = layer.kind == .encoderBlock ? 28.5e9 / 24 : 2e8
                let forward = [1, 2, 4, 8, 16].map { 1e-3 + flops * $0 / device.flopsPerSecond }
                return LayerTimes(
                    forwardSeconds: forward, backwardSeconds: forward.map { $0 * (tunesAll ? 2 : 0.15) })
            }
            return DeviceProfile(
                rank: rank, host: "\(device)-\(rank)", coreCount: 4, memoryBytes: device.budgetBytes,
                memoryBudgetBytes: device.budgetBytes, blasCore: "made up",
                microBatchSizes: [1, 2, 4, 8, 16],
                layers: times)
        }
        let links = devices.indices.flatMap { a in
            (0..<a).map { LinkProfile(ranks: (a, $0), bandwidth: 125e6, latencySeconds: 3e-4) }
        }
        return try Profile(
            devices: profiles, layers: layers, links: links, meanTokens: TokenCounts(source: 128))
    }
}
