import Plans

/// The micro-batches of consecutive mini-batches, numbered through: what passes through the stages in one go.
package struct MicroBatchSequence {
    /// Samples by slot.
    package let miniBatches: [[Int]]
    private let placement: Placement

    package init(_ miniBatches: [[Int]], _ placement: Placement) {
        self.miniBatches = miniBatches
        self.placement = placement
    }

    private var countInEach: Int { placement.plan.microBatchCount }
    package var count: Int { miniBatches.count * countInEach }

    /// The number of the mini-batch whose last micro-batch this is; nil for other micro-batches.
    func miniBatchEnding(with microBatch: Int) -> Int? {
        (microBatch + 1) % countInEach == 0 ? microBatch / countInEach : nil
    }

    /// This rank's slots of a micro-batch's mini-batch.
    package func slots(_ microBatch: Int) -> Range<Int> {
        placement.slots(
            microBatch: microBatch % countInEach, sampleCount: miniBatches[microBatch / countInEach].count)
    }

    /// The samples in some slots of a micro-batch's mini-batch.
    package func samples(_ microBatch: Int, _ slots: Range<Int>) -> ArraySlice<Int> {
        miniBatches[microBatch / countInEach][slots]
    }

    /// This rank's samples of a micro-batch.
    package func samples(_ microBatch: Int) -> [Int] { Array(samples(microBatch, slots(microBatch))) }

    /// The parts of this rank's slots that each rank of another stage takes: its world rank and the common slots.
    package func overlaps(_ microBatch: Int, stage: Int) -> [(rank: Int, slots: Range<Int>)] {
        placement.overlaps(
            slots(microBatch), stage: stage, microBatch: microBatch % countInEach,
            sampleCount: miniBatches[microBatch / countInEach].count)
    }
}
