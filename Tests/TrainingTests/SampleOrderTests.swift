import Planning
import Plans
import Stages
import Support
import Testing
import Training

/// The order of samples and who takes which of them.
@Suite struct SampleOrderTests {
    private static let order = SampleOrder(sampleCount: 109, miniBatchSize: 8, isShuffled: true, seed: 42)

    @Test("every sample once an epoch, the last mini-batch short", arguments: [1, 2, 7])
    func everySampleOnceAnEpochTheLastMiniBatchShort(epoch: Int) {
        let batches = Self.order.miniBatches(epoch: epoch)
        #expect(Self.order.stepCount == 14)
        #expect(batches.map(\.count) == [Int](repeating: 8, count: 13) + [5])
        #expect(batches.flatMap { $0 }.sorted() == Array(0..<109))
    }

    @Test("a sample keeps its slot, its mini-batch changes") func aSampleKeepsItsSlotItsMiniBatchChanges() {
        let epochs = (1...3).map(Self.order.miniBatches)
        func slots(_ batches: [[Int]]) -> [Int: Int] {
            Dictionary(uniqueKeysWithValues: batches.flatMap { $0.enumerated().map { ($1, $0) } })
        }
        #expect(slots(epochs[0]) == slots(epochs[1]))
        #expect(slots(epochs[0]) == slots(epochs[2]))
        #expect(epochs[0] != epochs[1])
        #expect(epochs[1] != epochs[2])
        // Shuffled: slots do not hold every eighth row.
        #expect(epochs[0].flatMap { $0 } != Array(0..<109))
        #expect(
            (0..<8).contains { slot in
                Set(epochs[0].compactMap { $0.count > slot ? $0[slot] % 8 : nil }).count > 1
            })
    }

    @Test("the order repeats with the seed and changes with it")
    func theOrderRepeatsWithTheSeedAndChangesWithIt() {
        let again = SampleOrder(sampleCount: 109, miniBatchSize: 8, isShuffled: true, seed: 42)
        let other = SampleOrder(sampleCount: 109, miniBatchSize: 8, isShuffled: true, seed: 43)
        #expect(again.miniBatches(epoch: 2) == Self.order.miniBatches(epoch: 2))
        #expect(other.miniBatches(epoch: 2) != Self.order.miniBatches(epoch: 2))
    }

    @Test("unshuffled, mini-batches are runs of rows") func unshuffledMiniBatchesAreRunsOfRows() {
        let order = SampleOrder(sampleCount: 11, miniBatchSize: 4, isShuffled: false, seed: 1)
        for epoch in [1, 5] {
            #expect(order.miniBatches(epoch: epoch) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]])
        }
    }

    @Test("fewer samples than a mini-batch has slots") func fewerSamplesThanAMiniBatchHasSlots() {
        let order = SampleOrder(sampleCount: 3, miniBatchSize: 8, isShuffled: true, seed: 1)
        #expect(order.stepCount == 1)
        #expect(order.miniBatches(epoch: 1).map { $0.sorted() } == [[0, 1, 2]])
    }

    // MARK: Placement

    private static let plan = Plan.of(
        [(0..<2, [4, 0], [3, 1]), (2..<5, [1, 2, 5], [1, 0, 3])], microBatchCount: 2)

    @Test("a rank's place, and none for one that is left out") func aRanksPlaceAndNoneForOneThatIsLeftOut()
        throws
    {
        #expect(Placement(Self.plan, rank: 3) == nil)
        let first = try #require(Placement(Self.plan, rank: 0))
        #expect((first.stageIndex, first.position) == (0, 1))
        #expect(first.isFirstStage && !first.isLastStage)
        let last = try #require(Placement(Self.plan, rank: 5))
        #expect((last.stageIndex, last.position) == (1, 2))
        #expect(!last.isFirstStage && last.isLastStage)
    }

    /// In a short mini-batch the micro-batches fill in order and later parts are empty.
    @Test("every slot has one owner in every stage", arguments: 0...8) func everySlotHasOneOwnerInEveryStage(
        sampleCount: Int
    ) throws {
        for (index, stage) in Self.plan.stages.enumerated() {
            var owners: [Int: Int] = [:]
            for microBatch in 0..<2 {
                for (position, rank) in stage.ranks.enumerated() {
                    let place = try #require(Placement(Self.plan, rank: rank))
                    let slots = place.slots(microBatch: microBatch, sampleCount: sampleCount)
                    #expect(slots.count <= stage.share[position])
                    for slot in slots {
                        #expect(slot / 4 == microBatch)
                        #expect(owners.updateValue(rank, forKey: slot) == nil)
                        #expect(Self.plan.position(ofSlot: slot, stage: index) == position)
                    }
                }
            }
            #expect(owners.keys.sorted() == Array(0..<sampleCount))
        }
    }

    /// What a rank sends to the next stage is what its members expect from it, slot for slot.
    @Test("overlaps agree from both sides and cover everything", arguments: 0...8)
    func overlapsAgreeFromBothSidesAndCoverEverything(sampleCount: Int)
        throws
    {
        for microBatch in 0..<2 {
            var covered = 0
            for rank in Self.plan.stages[0].ranks {
                let sender = try #require(Placement(Self.plan, rank: rank))
                let own = sender.slots(microBatch: microBatch, sampleCount: sampleCount)
                for part in sender.overlaps(own, stage: 1, microBatch: microBatch, sampleCount: sampleCount) {
                    let receiver = try #require(Placement(Self.plan, rank: part.rank))
                    let theirs = receiver.slots(microBatch: microBatch, sampleCount: sampleCount)
                    #expect(Set(part.slots) == Set(own).intersection(theirs))
                    let back = receiver.overlaps(
                        theirs, stage: 0, microBatch: microBatch, sampleCount: sampleCount)
                    #expect(back.contains { $0.rank == rank && $0.slots == part.slots })
                    covered += part.slots.count
                }
            }
            #expect(covered == min(max(sampleCount - microBatch * 4, 0), 4))
        }
    }
}
