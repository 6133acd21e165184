/// The cost model: what a stage costs according to a profile, in time and, by `StageMemory`, in bytes.
///
/// It knows nothing of how plans are searched, so that every planner, and the pricing of a plan that a person wrote, share
/// it.
package struct StageCosts: Sendable {
    package let profile: Profile
    package let memory: MemoryModel
    package let schedule: PipelineSchedule

    private let stageMemory: StageMemory

    package init(
        profile: Profile, memory: MemoryModel = MemoryModel(),
        schedule: PipelineSchedule
    ) {
        self.profile = profile
        self.memory = memory
        self.schedule = schedule
        stageMemory = StageMemory(profile: profile, model: memory)
    }

    /// m_d of eq. (3): peak bytes of a rank that takes `share` samples of each micro-batch through some layers.
    ///
    /// - Parameters:
    ///   - recompute: keep only the input of the first layer for each micro-batch in flight; the model's own input is
    ///     tokens, which count nothing.
    ///   - microBatch: size and count of the micro-batches. A rank that takes all samples of each
    ///     micro-batch meets the longest samples only once. With fewer micro-batches fewer messages are pending.
    package func peakBytes(
        layers: Range<Int>, share: Int, inFlightCount: Int, recompute: Bool = false,
        microBatch: (size: Int, count: Int)
    ) -> Int {
        stageMemory.peakBytes(
            layers: layers, share: share, inFlightCount: inFlightCount, recompute: recompute,
            microBatch: microBatch)
    }

    /// Peak bytes of a rank that trains `share` samples of each mini-batch from the cache; nil when nothing is cached.
    package func cachedPeakBytes(share: Int) -> Int? { stageMemory.cachedPeakBytes(share: share) }

    /// Bytes of the trainable parameters of some layers, each once.
    package func trainableBytes(_ layers: Range<Int>) -> Int { stageMemory.trainableBytes(layers) }

    /// Seconds for a stage boundary to pass one micro-batch, in either direction.
    ///
    /// Every rank exchanges with each rank of the other stage the rows that both hold. A rank moves its messages one after
    /// another, different ranks at the same time, so the busiest rank counts.
    package func transferSeconds(bytesPerSample: Double, between a: StagePlan, and b: StagePlan) -> Double {
        transferSeconds(
            bytesPerSample: bytesPerSample, a.ranks[...], a.share[...], b.ranks[...], b.share[...])
    }

    package func transferSeconds(
        bytesPerSample: Double, _ aRanks: ArraySlice<Int>, _ aShare: ArraySlice<Int>,
        _ bRanks: ArraySlice<Int>,
        _ bShare: ArraySlice<Int>
    ) -> Double {
        var busyInB = [Double](repeating: 0, count: bRanks.count)
        var busiest = 0.0
        var aStart = 0
        for (aRank, aCount) in zip(aRanks, aShare) {
            var busyInA = 0.0
            var bStart = 0
            for (index, (bRank, bCount)) in zip(bRanks, bShare).enumerated() {
                let rows = min(aStart + aCount, bStart + bCount) - max(aStart, bStart)
                if rows > 0 {
                    let seconds = profile.link(aRank, bRank).seconds(bytes: Double(rows) * bytesPerSample)
                    busyInA += seconds
                    busyInB[index] += seconds
                }
                bStart += bCount
            }
            busiest = max(busiest, busyInA)
            aStart += aCount
        }
        return max(busiest, busyInB.max() ?? 0)
    }

    /// AR of eq. (5): seconds to sum the trainable gradients of some layers over a stage group.
    ///
    /// A ring of g ranks passes 2 (g - 1) messages of a g-th of the bytes, at the pace of the group's worst link.
    package func allReduceSeconds(layers: Range<Int>, ranks: [Int]) -> Double {
        let bytes = trainableBytes(layers)
        guard ranks.count > 1, bytes > 0 else { return 0 }
        let part = Double(bytes) / Double(ranks.count)
        var worst = 0.0
        for (index, a) in ranks.enumerated() {
            for b in ranks[(index + 1)...] { worst = max(worst, profile.link(a, b).seconds(bytes: part)) }
        }
        return 2 * Double(ranks.count - 1) * worst
    }

    /// What one stage of a plan costs. Where it recomputes, its backward begins with a second forward.
    ///
    /// - Parameters:
    ///   - next: the stage after it; nil for the last.
    ///   - inFlightCount: micro-batches between forward and backward, `PipelineSchedule.inFlightCount`.
    ///   - microBatchCount: of a mini-batch.
    package func prediction(
        of stage: StagePlan, next: StagePlan?, inFlightCount: Int, microBatchCount: Int
    ) -> StagePrediction {
        let microBatch = (size: stage.share.reduce(0, +), count: microBatchCount)
        var (slowestForward, slowestBackward, slowestBoth) = (0.0, 0.0, 0.0)
        for (rank, share) in zip(stage.ranks, stage.share) {
            var (forward, backward) = (0.0, 0.0)
            for layer in stage.layers {
                forward += profile.forwardSeconds(device: rank, layer: layer, samples: Double(share))
                backward += profile.backwardSeconds(device: rank, layer: layer, samples: Double(share))
            }
            if stage.recompute { backward += forward }
            slowestForward = max(slowestForward, forward)
            slowestBackward = max(slowestBackward, backward)
            slowestBoth = max(slowestBoth, forward + backward)
        }
        let boundary = stage.layers.upperBound - 1
        func transfer(_ bytesPerSample: Double) -> Double {
            next.map { transferSeconds(bytesPerSample: bytesPerSample, between: stage, and: $0) } ?? 0
        }
        return StagePrediction(
            forwardSeconds: slowestForward, backwardSeconds: slowestBackward, microBatchSeconds: slowestBoth,
            forwardTransferSeconds: transfer(profile.forwardBytesPerSample(after: boundary)),
            backwardTransferSeconds: transfer(profile.backwardBytesPerSample(after: boundary)),
            allReduceSeconds: allReduceSeconds(layers: stage.layers, ranks: stage.ranks),
            memoryBytes: stage.share.map {
                peakBytes(
                    layers: stage.layers, share: $0, inFlightCount: inFlightCount,
                    recompute: stage.recompute, microBatch: microBatch)
            })
    }

    /// What each stage of a valid plan costs.
    package func predictions(of plan: Plan) -> [StagePrediction] {
        plan.stages.indices.map { index in
            prediction(
                of: plan.stages[index], next: index + 1 < plan.stages.count ? plan.stages[index + 1] : nil,
                inFlightCount: schedule.inFlightCount(
                    stage: index, stageCount: plan.stages.count, microBatchCount: plan.microBatchCount),
                microBatchCount: plan.microBatchCount)
        }
    }

    /// The first rank that epochs from the cache take beyond its budget, as a clause; nil when every rank fits.
    package func cachedMemoryShortage(of plan: Plan) -> String? {
        for (device, share) in zip(profile.devices, plan.cacheShares(profile)) {
            if let budget = device.memoryBudgetBytes, let bytes = cachedPeakBytes(share: share),
                bytes > budget
            {
                return
                    "rank \(device.rank) needs about \(bytes) bytes for epochs from the cache, its budget is \(budget)"
            }
        }
        return nil
    }

    /// What keeps the first rank that does not fit from its budget, as a clause; nil when every rank fits.
    package func memoryShortage(of plan: Plan) -> String? {
        for (stage, costs) in zip(plan.stages, predictions(of: plan)) {
            for (rank, bytes) in zip(stage.ranks, costs.memoryBytes) {
                if let budget = profile.devices[rank].memoryBudgetBytes, bytes > budget {
                    return "rank \(rank) needs \(bytes) bytes for \(stage), its budget is \(budget)"
                }
            }
        }
        return nil
    }
}
