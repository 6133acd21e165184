import Profiling
import Support
import Testing

/// The parts of the profiler that need no ranks; the whole runs under `mpirun`.
@Suite struct ProfilerTests {
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
}
