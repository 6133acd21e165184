import Stages
import Testing

/// The order of samples.
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
}
