import Plans

/// What a simulation asks beyond a profile's times: bytes, and the optimizer's step.
package protocol StepCosts: Sendable {
    /// Peak bytes of one rank of a stage.
    ///
    /// - Parameters:
    ///   - member: the position of the rank in the stage.
    ///   - inFlightCount: micro-batches between forward and backward.
    ///   - microBatchCount: of a mini-batch.
    func peakBytes(_ stage: StagePlan, member: Int, inFlightCount: Int, microBatchCount: Int) -> Int
    /// Seconds of one rank's optimizer step.
    func optimizerSeconds(_ stage: StagePlan, member: Int) -> Double
}

extension StageCosts: StepCosts {
    package func peakBytes(_ stage: StagePlan, member: Int, inFlightCount: Int, microBatchCount: Int) -> Int {
        peakBytes(
            layers: stage.layers, share: stage.share[member], inFlightCount: inFlightCount,
            recompute: stage.recompute, microBatch: (stage.share.reduce(0, +), microBatchCount))
    }

    /// A profile has no measurement of it; it is small beside a mini-batch.
    package func optimizerSeconds(_ stage: StagePlan, member: Int) -> Double { 0 }
}

/// The costs of an analytic profile: memory as a PyTorch-like implementation needs it, and an optimizer that
/// is as fast as the memory is.
package struct AnalyticCosts: StepCosts {
    package let profile: Profile
    private let cluster: SimulatedCluster
    private let memory: TrainingMemory
    // Sums over layers 0..<i.
    private let parameterBytes: [Int]
    private let trainableBytes: [Int]
    private let savedBytes: [Double]

    package init(profile: Profile, cluster: SimulatedCluster, memory: TrainingMemory) {
        self.profile = profile
        self.cluster = cluster
        self.memory = memory
        func sums<N: AdditiveArithmetic>(_ size: (LayerProfile) -> N) -> [N] {
            profile.layers.reduce(into: [N.zero]) { $0.append($0[$0.count - 1] + size($1)) }
        }
        parameterBytes = sums(\.parameterBytes)
        trainableBytes = sums(\.trainableBytes)
        savedBytes = sums(\.savedBytesPerSample)
    }

    /// The bytes of one rank by what they are for.
    package func footprint(_ stage: StagePlan, member: Int, inFlightCount: Int) -> TrainingMemory.Footprint {
        func sum<N: AdditiveArithmetic>(_ sums: [N]) -> N {
            sums[stage.layers.upperBound] - sums[stage.layers.lowerBound]
        }
        return memory.footprint(
            parameterBytes: sum(parameterBytes), trainableBytes: sum(trainableBytes),
            savedBytes: Double(inFlightCount * stage.share[member]) * sum(savedBytes),
            holdsModel: stage.layers == profile.layers.indices, groupSize: stage.ranks.count)
    }

    package func peakBytes(_ stage: StagePlan, member: Int, inFlightCount: Int, microBatchCount: Int) -> Int {
        footprint(stage, member: member, inFlightCount: inFlightCount).total
    }

    package func optimizerSeconds(_ stage: StagePlan, member: Int) -> Double {
        optimizerSeconds(
            trainableBytes: trainableBytes[stage.layers.upperBound] - trainableBytes[stage.layers.lowerBound],
            device: cluster.devices[stage.ranks[member]])
    }

    /// Seconds to step some parameters: each transfer of their bytes once past the memory.
    package func optimizerSeconds(trainableBytes: Int, device: SimulatedCluster.Device) -> Double {
        let transfers =
            memory.optimizerMultiple == 0 ? AnalyticConstants.sgdTransfers : AnalyticConstants.adamTransfers
        return transfers * Double(trainableBytes) / device.memoryBandwidth
    }
}
