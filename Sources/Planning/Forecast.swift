/// What a run under a plan will take, beyond one step: epochs, and the memory and disk of each device.
///
/// Epochs from the cache are not profiled, so theirs is a lower bound: waits for other ranks and for the disk come on top. A layer's backward is that of what is trained, which for a cacheable technique is
/// the side network alone; its forward takes about half as long, so 1.5 backwards are a layer's pass from the cache.
public struct Forecast: Sendable, Equatable {
    public struct Device: Sendable, Equatable {
        public var rank: Int
        /// nil for a device that the plan leaves out.
        public var stage: Int?
        /// Peak bytes with the backbone; 0 without a stage.
        public var memoryBytes: Int
        /// Bytes of cache on its disk, after the first epoch and after redistribution; 0 without a cache.
        public var firstDiskBytes: Double
        public var cachedDiskBytes: Double
    }

    public var devices: [Device]
    public var stepSeconds: Double
    /// Seconds of one epoch with the backbone.
    public var epochSeconds: Double
    /// Seconds of one epoch from the cache; nil without a cache.
    public var cachedEpochSeconds: Double?
    public var totalSeconds: Double

    /// - Parameters:
    ///   - caches: whether epochs after the first run from the cache.
    /// - Returns: nil when the profile does not say how many samples there are, or nothing was predicted of the plan.
    public init?(_ plan: Plan, _ profile: Profile, epochs: Int, caches: Bool) {
        guard let sampleCount = profile.sampleCount, let predicted = plan.predicted else { return nil }
        let size = plan.miniBatchSize
        let steps = Double((sampleCount + size - 1) / size)
        stepSeconds = predicted.stepSeconds
        epochSeconds = steps * predicted.stepSeconds
        let speeds = profile.cachedSpeeds
        let allSpeeds = speeds.reduce(0, +)
        let layers = profile.layers
        func diskBytes(_ range: Range<Int>) -> Double {
            layers[range].reduce(0) { $0 + $1.cacheBytesPerSample } * Double(sampleCount)
        }
        devices = profile.devices.map { device in
            let stage = plan.stageIndex(ofRank: device.rank)
            var memory = 0
            var first = 0.0
            if let stage {
                let part = plan.stages[stage]
                let position = part.ranks.firstIndex(of: device.rank)!
                memory = predicted.stages[stage].memoryBytes[position]
                first = diskBytes(part.layers) * Double(part.share[position]) / Double(plan.microBatchSize)
            }
            return Device(
                rank: device.rank, stage: stage, memoryBytes: memory, firstDiskBytes: caches ? first : 0,
                cachedDiskBytes: caches ? diskBytes(layers.indices) * speeds[device.rank] / allSpeeds : 0)
        }
        if caches {
            // Every device takes samples in proportion to its speed: all are busy for the same time.
            let trainable = layers.reduce(0) { $0 + $1.trainableBytes }
            let everyone = StageCosts(profile: profile).allReduceSeconds(
                layers: layers.indices, ranks: profile.devices.map(\.rank))
            cachedEpochSeconds = steps * (Double(size) / allSpeeds + (trainable > 0 ? everyone : 0))
        }
        totalSeconds = epochSeconds + Double(epochs - 1) * (cachedEpochSeconds ?? epochSeconds)
    }
}

extension Profile {
    /// Samples a second that each device trains from the cache, by the reading of `Forecast`.
    public var cachedSpeeds: [Double] {
        devices.map { device in
            let size = device.microBatchSizes[device.microBatchSizes.count - 1]
            let seconds = layers.indices.reduce(0.0) {
                $0 + 1.5 * backwardSeconds(device: device.rank, layer: $1, samples: Double(size))
            }
            return Double(size) / max(seconds, 1e-9)
        }
    }
}
