import PlanExamples
import Plans
import Stages
import Testing

/// Which rank takes which samples of a mini-batch.
@Suite struct PlacementTests {
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
