import Configuration
import Plans
import Support

/// What a simulated experiment takes: its step, its epochs, and the memory of each device.
package struct SimulatedRun: Sendable {
    package let plan: Plan
    /// One pass of the plan; `rounds` of them are a mini-batch.
    package let simulation: SimulatedStep
    /// How often the plan runs for one mini-batch: 1 unless Eco-FL had to cut it.
    package let rounds: Int
    package let partsPerSample: Int
    package let experiment: Experiment
    /// nil when nothing says how many there are: then there are no times of epochs.
    package let sampleCount: Int?
    package let cluster: SimulatedCluster
    package let model: AnalyticModel
    package let profile: Profile
    package let costs: AnalyticCosts

    /// Seconds of one mini-batch: all rounds, and one step of the optimizer.
    package var stepSeconds: Double {
        let optimizer = plan.stages.reduce(0.0) { max($0, costs.optimizerSeconds($1, member: 0)) }
        return Double(rounds) * simulation.stepSeconds - Double(rounds - 1) * optimizer
    }

    package var miniBatchSize: Int { experiment.training.miniBatchSize }

    /// Group sizes as the paper writes them: "[2-1-1]".
    package var grouping: String {
        "[" + plan.stages.map { "\($0.ranks.count)" }.joined(separator: "-") + "]"
    }

    /// The bytes of a stage's first rank, whose share is the largest, by what they are for.
    package func footprint(stage: Int) -> TrainingMemory.Footprint {
        costs.footprint(
            plan.stages[stage], member: 0,
            inFlightCount: experiment.pipelineSchedule.inFlightCount(
                stage: stage, stageCount: plan.stages.count, microBatchCount: plan.microBatchCount))
    }

    /// The largest over the devices of a part of their memory.
    package func largest(_ part: (TrainingMemory.Footprint) -> Int) -> Int {
        plan.stages.indices.reduce(0) { max($0, part(footprint(stage: $1))) }
    }

    /// The share of forward in all computing.
    package var forwardShare: Double {
        var (forward, backward) = (0.0, 0.0)
        for span in simulation.spans where span.lane == .compute {
            switch PipelineAction(span.name) {
            case .forward: forward += span.seconds
            case .backward: backward += span.seconds
            default: break
            }
        }
        return forward + backward > 0 ? forward / (forward + backward) : 0
    }

    // MARK: Epochs

    /// Whether epochs after the first run from the cache.
    package var usesCache: Bool { experiment.cache.isEnabled && experiment.technique.isCacheable }

    private func steps(_ samples: Int) -> Double {
        Double((samples + miniBatchSize - 1) / miniBatchSize)
    }

    /// Seconds of an epoch through the pipeline; nil without a number of samples.
    package var epochSeconds: Double? { sampleCount.map { steps($0) * stepSeconds } }

    /// Seconds of an epoch from the cache, and of moving the cache before the first such; nil where there is
    /// no cache.
    package var cachedEpochSeconds: Double? {
        usesCache ? sampleCount.map { steps($0) * cachedStepSeconds } : nil
    }
    package var redistributionSeconds: Double? { usesCache ? sampleCount.map(redistributionSeconds) : nil }

    /// Seconds of all epochs.
    package var trainingSeconds: Double? {
        guard let epochSeconds else { return nil }
        let rest = Double(experiment.training.epochs - 1)
        guard rest > 0, let cachedEpochSeconds, let redistributionSeconds else {
            return epochSeconds * Double(experiment.training.epochs)
        }
        return epochSeconds + redistributionSeconds + rest * cachedEpochSeconds
    }

    // MARK: Cached training

    /// Samples of a mini-batch for each device in cached epochs, in proportion to their rates.
    private var cachedShares: [Int] {
        let rates = cluster.devices.map(\.flops)
        let total = rates.reduce(0, +)
        let exact = rates.map { $0 / total * Double(miniBatchSize) }
        var shares = exact.map { Int($0) }
        // What rounding down leaves goes to the largest remainders.
        let order = exact.indices.sorted { exact[$0] - Double(shares[$0]) > exact[$1] - Double(shares[$1]) }
        for index in order.prefix(miniBatchSize - shares.reduce(0, +)) { shares[index] += 1 }
        return shares
    }

    /// Trainable bytes of the whole model.
    private var trainableBytes: Int { profile.layers.reduce(0) { $0 + $1.trainableBytes } }

    /// Seconds of one mini-batch from the cache: the side network alone on every device, then an all-reduce
    /// over all.
    package var cachedStepSeconds: Double {
        let side = model.layers.reduce(0) { $0 + $1.sideForward + $1.sideBackward }
        let head = model.layers[model.layers.count - 1]
        let launches = 2.0 * Double(model.layers.count)
        let computing = zip(cluster.devices, cachedShares).reduce(0.0) { slowest, pair in
            let (device, share) = pair
            guard share > 0 else { return slowest }
            let sample = (side / device.sideEfficiency + head.forward + head.backward) / device.flops
            return max(
                slowest,
                Double(share) * sample + launches * device.launchOverheadSeconds
                    + costs.optimizerSeconds(trainableBytes: trainableBytes, device: device))
        }
        return computing
            + StageCosts(profile: profile, schedule: experiment.pipelineSchedule).allReduceSeconds(
                layers: profile.layers.indices, ranks: Array(cluster.devices.indices))
    }

    /// Bytes of the device that holds most in cached epochs: the side network with gradients and optimizer
    /// state, what its share of a mini-batch keeps, and the head's frozen matrix. The backbone is gone.
    package var cachedPeakBytes: Int {
        let saved = model.layers.reduce(0) { $0 + $1.savedBytes }
        let table = model.shape.hasLanguageModelHead ? 4 * model.shape.headParameters : 0
        return 4 * trainableBytes + table + Int(Double(cachedShares.max() ?? 0) * saved)
    }

    /// Seconds until every device has all layers of its own samples: the device that sends most, at the
    /// slowest link it has.
    private func redistributionSeconds(_ samples: Int) -> Double {
        guard plan.stages.count > 1 else { return 0 }
        let count = cluster.devices.count
        return plan.stages.reduce(0.0) { slowest, stage in
            let bytes = model.layers[stage.layers].reduce(0) { $0 + $1.cachedBytes }
            let total = Double(stage.share.reduce(0, +))
            return zip(stage.ranks, stage.share).reduce(slowest) { slowest, pair in
                let sent = bytes * Double(samples) * Double(pair.1) / total * (1 - 1 / Double(count))
                let bandwidth = (0..<count).filter { $0 != pair.0 }
                    .reduce(Double.infinity) { min($0, cluster.link(pair.0, $1).bandwidth) }
                return max(slowest, sent / bandwidth)
            }
        }
    }
}
