/// What a run under a plan will take, beyond one step: epochs, and the memory and disk of each device.
///
/// Epochs from the cache are not profiled, so theirs is a lower bound, by `Profile.cachedSpeeds`: waits for other ranks and
/// for the disk come on top.
package struct Forecast: Sendable, Equatable {
    package struct Device: Sendable, Equatable {
        package var rank: Int
        /// nil for a device that the plan leaves out.
        package var stage: Int?
        /// Peak bytes with the backbone; 0 without a stage.
        package var memoryBytes: Int
        /// Peak bytes from the cache, once redistribution, which takes what the budget leaves, is over; 0 without a cache.
        package var cachedMemoryBytes: Int
        /// Bytes of cache on its disk, after the first epoch and after redistribution; 0 without a cache.
        package var firstDiskBytes: Double
        package var cachedDiskBytes: Double
    }

    package var devices: [Device]
    package var stepSeconds: Double
    /// Seconds of one epoch with the backbone, through the pipeline.
    package var epochSeconds: Double
    /// Seconds of the frozen backbone's pass over all samples, after which all epochs run from the cache; nil unless it streams.
    package var streamSeconds: Double?
    /// Seconds of one epoch from the cache; nil without a cache.
    package var cachedEpochSeconds: Double?
    package var totalSeconds: Double

    /// - Parameters:
    ///   - streams: whether the frozen backbone passes over all samples first.
    ///   - cachedNumberBytes: bytes of a number in the cache's files. A profile counts 4 for each, whatever the files of the
    ///     run that measured it hold.
    /// - Returns: nil when the profile does not say how many samples there are, or nothing was predicted of the plan.
    package init?(
        _ plan: Plan, _ costs: StageCosts, epochs: Int, streams: Bool = false, cachedNumberBytes: Int
    ) {
        let profile = costs.profile
        guard let sampleCount = profile.sampleCount, let predicted = plan.predicted else { return nil }
        let size = plan.miniBatchSize
        let steps = Double((sampleCount + size - 1) / size)
        stepSeconds = predicted.stepSeconds
        epochSeconds = steps * predicted.stepSeconds
        let layers = profile.layers
        let caches = costs.cachedPeakBytes(share: 0) != nil
        func diskBytes(_ range: Range<Int>, _ part: Double) -> Double {
            guard caches else { return 0 }
            let bytes = layers[range].reduce(0) { $0 + $1.cacheBytesPerSample }
            return bytes * Double(cachedNumberBytes) / 4 * Double(sampleCount) * part
        }
        let shares = plan.cacheShares(profile)
        devices = profile.devices.map { device in
            let share = shares[device.rank]
            var result = Device(
                rank: device.rank, stage: plan.stageIndex(ofRank: device.rank), memoryBytes: 0,
                cachedMemoryBytes: costs.cachedPeakBytes(share: share) ?? 0, firstDiskBytes: 0,
                cachedDiskBytes: diskBytes(layers.indices, Double(share) / Double(size)))
            if let index = result.stage {
                let stage = plan.stages[index]
                let position = stage.ranks.firstIndex(of: device.rank)!
                result.memoryBytes = predicted.stages[index].memoryBytes[position]
                result.firstDiskBytes = diskBytes(
                    stage.layers, Double(stage.share[position]) / Double(plan.microBatchSize))
            }
            return result
        }
        if caches {
            let slowest = zip(shares, profile.cachedSpeeds).reduce(0.0) { max($0, Double($1.0) / $1.1) }
            let everyone = costs.allReduceSeconds(layers: layers.indices, ranks: profile.devices.map(\.rank))
            cachedEpochSeconds = steps * (slowest + everyone)
        }
        if streams {
            // Without a gap, at the pace of the slowest stage or link. The side network's forward, which a stage's has as well,
            // takes about half as long as its backward.
            let pace = predicted.stages.reduce(0.0) {
                max($0, $1.forwardSeconds - $1.backwardSeconds / 2, $1.forwardTransferSeconds)
            }
            streamSeconds = steps * Double(plan.microBatchCount) * pace
        }
        let later = cachedEpochSeconds ?? epochSeconds
        if let streamSeconds {
            totalSeconds = streamSeconds + Double(epochs) * later
        } else {
            totalSeconds = epochSeconds + Double(epochs - 1) * later
        }
    }
}
