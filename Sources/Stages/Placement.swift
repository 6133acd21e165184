import Plans

/// Where a rank stands in a plan, and which rows of a micro-batch every rank takes.
///
/// Rows are positions in a mini-batch (slots). They do not depend on the samples, so every rank knows every other's.
package struct Placement: Sendable {
    package let plan: Plan
    package let stageIndex: Int
    /// Position in the stage group.
    package let position: Int

    /// The place of a world rank; nil when the plan leaves it out.
    package init?(_ plan: Plan, rank: Int) {
        guard let stage = plan.stageIndex(ofRank: rank) else { return nil }
        self.plan = plan
        stageIndex = stage
        position = plan.stages[stage].ranks.firstIndex(of: rank)!
    }

    package var stage: StagePlan { plan.stages[stageIndex] }
    package var isFirstStage: Bool { stageIndex == 0 }
    package var isLastStage: Bool { stageIndex == plan.stages.count - 1 }

    /// This rank's slots of a micro-batch, for a mini-batch of `sampleCount` samples.
    package func slots(microBatch: Int, sampleCount: Int) -> Range<Int> {
        Self.slots(plan, stageIndex, position, microBatch: microBatch, sampleCount: sampleCount)
    }

    /// Any rank's slots of a micro-batch. In a short mini-batch the micro-batches fill in order and later parts are empty.
    package static func slots(_ plan: Plan, _ stage: Int, _ position: Int, microBatch: Int, sampleCount: Int)
        -> Range<Int>
    {
        let shares = plan.stages[stage].share
        let start = microBatch * plan.microBatchSize + shares[..<position].reduce(0, +)
        return min(start, sampleCount)..<min(start + shares[position], sampleCount)
    }

    /// The parts of `slots` that each rank of another stage takes: its world rank and the common slots.
    package func overlaps(_ slots: Range<Int>, stage: Int, microBatch: Int, sampleCount: Int) -> [(
        rank: Int, slots: Range<Int>
    )] {
        plan.stages[stage].ranks.enumerated().compactMap { position, rank in
            let theirs = Self.slots(plan, stage, position, microBatch: microBatch, sampleCount: sampleCount)
            let common = theirs.clamped(to: slots)
            return common.isEmpty || slots.isEmpty ? nil : (rank, common)
        }
    }
}
