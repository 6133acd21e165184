import Cluster
import Plans
import Profiling
import Support
import Testing
import Training

/// The parts of the profiler that need no ranks; the whole runs under `mpirun`.
@Suite struct ProfilerTests {
    @Test func medianIsTheMiddle() {
        #expect(TimingStatistics.median([5]) == 5)
        #expect(TimingStatistics.median([9, 1, 2]) == 2)
        #expect(TimingStatistics.median([4, 1, 100, 2]) == 3)
    }

    @Test func levelledTimesNeverFall() {
        #expect(TimingStatistics.nonDecreasing([]) == [])
        #expect(TimingStatistics.nonDecreasing([1, 2, 3]) == [1, 2, 3])
        #expect(TimingStatistics.nonDecreasing([1, 4, 2, 8]) == [1, 3, 3, 8])
        #expect(TimingStatistics.nonDecreasing([3, 2, 1]) == [2, 2, 2])
        // The last value pulls the pool before it below the one before that.
        #expect(TimingStatistics.nonDecreasing([3, 4, 3, 0]) == [2.5, 2.5, 2.5, 2.5])
    }

    /// Against the definition: no other sequence of multiples of a half that never falls is nearer.
    @Test func levelledTimesAreTheNearest() {
        let grid = (0...8).map { Double($0) / 2 }
        for index in 0..<50 {
            let random = CounterRandom(17, UInt64(index))
            let values = (0..<4).map { Double(random.bits(at: UInt64($0)) % 5) }
            func distance(_ other: [Double]) -> Double {
                zip(values, other).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            }
            let found = TimingStatistics.nonDecreasing(values)
            #expect(found == found.sorted())
            for a in grid {
                for b in grid where b >= a {
                    for c in grid where c >= b {
                        for d in grid where d >= c {
                            #expect(distance(found) <= distance([a, b, c, d]) + 1e-12)
                        }
                    }
                }
            }
        }
    }

    @Test func microBatchSizesSpanTheMiniBatch() {
        func sizes(_ miniBatchSize: Int, _ tokens: Double) -> [Int] {
            Profiler.microBatchSizes(miniBatchSize: miniBatchSize, tokensPerSample: tokens)
        }
        #expect(sizes(1, 50) == [1])
        #expect(sizes(6, 50) == [1, 2, 4, 6])
        #expect(sizes(16, 50) == [1, 2, 4, 8, 16])
        #expect(sizes(32, 50) == [1, 2, 4, 8, 32])
        #expect(sizes(24, 50) == [1, 2, 4, 8, 24])
        // 2,048 tokens at most, and then a power of two.
        #expect(sizes(64, 128) == [1, 2, 4, 8, 16])
        #expect(sizes(64, 200) == [1, 2, 4, 8])
        #expect(sizes(10, 200) == [1, 2, 4, 8, 10])
        #expect(sizes(64, 5000) == [1])
        for miniBatchSize in 1...300 {
            let found = sizes(miniBatchSize, 1)
            #expect(found.first == 1 && found.last == miniBatchSize && found.count <= 5)
            #expect(zip(found, found.dropFirst()).allSatisfy { $0 < $1 })
        }
    }

    @Test func microBatchesHaveMeanLength() throws {
        let sources = (0..<100).map { 5 + $0 * 37 % 100 }
        let targets = sources.map { $0 % 7 + 1 }
        let lengths = try SampleLengths(sources: sources, targets: targets)
        #expect(lengths.mean.source == 54.5)
        #expect(lengths.mean.target == Double(targets.reduce(0, +)) / 100)
        for count in [1, 2, 4, 16, 100, 250] {
            let batch = lengths.microBatch(of: count)
            #expect(batch.count == count)
            let tokens = batch.reduce(0) { $0 + $1.source }
            // Rounding, and the limit at the longest sample, move each sample by half a token and a little.
            #expect(abs(Double(tokens) - 54.5 * Double(count)) <= 0.6 * Double(count))
            #expect(batch.allSatisfy { (1...104).contains($0.source) && (1...7).contains($0.target) })
        }
        // Spread as the data are, not all alike.
        let sixteen = lengths.microBatch(of: 16).map(\.source)
        #expect(sixteen.min()! < 15 && sixteen.max()! > 95)
        #expect(lengths.microBatch(of: 100).map(\.source).sorted() == sources.sorted())
    }

    @Test func equalSamplesStayAsTheyAre() throws {
        let lengths = try SampleLengths(sources: [12, 12], targets: [])
        #expect(lengths.microBatch(of: 3) == Array(repeating: SampleLengths.Sample(source: 12), count: 3))
    }

    @Test func samplesWithoutTokensAreRefused() {
        #expect(throws: Failure.configuration("profile: expected at least one sample, found none")) {
            try SampleLengths(sources: [], targets: [])
        }
        #expect(throws: Failure.configuration("profile: sample 1: expected at least one token, found none")) {
            try SampleLengths(sources: [3, 0], targets: [])
        }
        #expect(
            throws: Failure.configuration(
                "profile: sample 0: expected a target of at least one token, found none")
        ) {
            try SampleLengths(sources: [3], targets: [0])
        }
    }

    @Test(arguments: 1...9) func everyPairMeetsOnce(rankCount: Int) {
        let rounds = pairingRounds(rankCount: rankCount)
        #expect(rounds.count == (rankCount == 1 ? 0 : rankCount % 2 == 0 ? rankCount - 1 : rankCount))
        for round in rounds {
            let ranks = round.flatMap { [$0.0, $0.1] }
            #expect(Set(ranks).count == ranks.count, "nobody meets two at once")
        }
        let pairs = rounds.joined().map { [$0.0, $0.1] }
        #expect(pairs.allSatisfy { 0 <= $0[0] && $0[0] < $0[1] && $0[1] < rankCount })
        #expect(pairs.count == rankCount * (rankCount - 1) / 2)
        #expect(Set(pairs).count == pairs.count)
    }

    @Test func linkReproducesItsMeasurements() {
        let link = LinkProfile(ranks: (0, 1), smallSeconds: 0.001, largeSeconds: 0.011, largeBytes: 1_000_000)
        #expect(link.latencySeconds == 0.001)
        #expect(abs(link.bandwidth - 1e8) < 1)
        // A latency that is noise still leaves a link that is finite and exact at the large message.
        let noisy = LinkProfile(ranks: (0, 1), smallSeconds: 0.02, largeSeconds: 0.01, largeBytes: 1_000_000)
        #expect(noisy.latencySeconds == 0.005)
        #expect(abs(noisy.seconds(bytes: 1_000_000) - 0.01) < 1e-12)
    }
}
