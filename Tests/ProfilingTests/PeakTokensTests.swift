import Plans
import Profiling
import Stages
import Support
import Testing

@Suite struct PeakTokensTests {
    /// Against every run of slots of every mini-batch, counted one by one.
    @Test("the most tokens of neighbouring slots are found", arguments: [true, false])
    func theMostTokensOfNeighbouringSlotsAreFound(isShuffled: Bool) {
        for seed in 0..<20 as Range<UInt64> {
            let random = CounterRandom(seed)
            let count = 3 + Int(random.bits(at: 0) % 40)
            let size = 1 + Int(random.bits(at: 1) % 8)
            let sources = (0..<count).map { 1 + Int(random.bits(at: UInt64(2 + $0)) % 50) }
            let targets = (0..<count).map { 1 + Int(random.bits(at: UInt64(100 + $0)) % 9) }
            let order = SampleOrder(
                sampleCount: count, miniBatchSize: size, isShuffled: isShuffled, seed: seed)
            let found = PeakTokens.find(order, epochs: 1...3, sources: sources, targets: targets)
            #expect(found.count == size)
            var expected = [TokenCounts](repeating: TokenCounts(source: 0), count: size)
            for epoch in 1...3 {
                for samples in order.miniBatches(epoch: epoch) {
                    for first in samples.indices {
                        var sum = TokenCounts(source: 0)
                        for last in first..<samples.count {
                            sum.source += Double(sources[samples[last]])
                            sum.target += Double(targets[samples[last]])
                            // More slots hold at least as much, full or not.
                            for more in last - first..<size {
                                expected[more].source = max(expected[more].source, sum.source)
                                expected[more].target = max(expected[more].target, sum.target)
                            }
                        }
                    }
                }
            }
            #expect(found == expected)
        }
    }
}
