import Plans
import Support

/// How long the samples of a data set are, and micro-batches that stand for them.
package struct SampleLengths: Sendable {
    /// Tokens of one sample: its input and its target, for a decoder-only language model all tokens and those to predict.
    /// `target` is 0 where the task is not text.
    package struct Sample: Sendable, Equatable {
        package var source: Int
        package var target: Int

        package init(source: Int, target: Int = 0) {
            self.source = source
            self.target = target
        }
    }

    /// Mean tokens of a sample.
    package let mean: TokenCounts
    /// In order of length.
    private let samples: [Sample]
    private let longest: Sample

    /// - Parameters:
    ///   - sources: tokens of each sample's input.
    ///   - targets: tokens of each sample's target, in the same order; empty where `Sample.target` is 0.
    /// - Throws: a configuration failure when there is no sample, or one without tokens.
    package init(sources: [Int], targets: [Int]) throws {
        guard let longestSource = sources.max() else {
            throw Failure.configuration("profile: expected at least one sample, found none")
        }
        precondition(targets.isEmpty || targets.count == sources.count, "one target for each source")
        for (index, length) in sources.enumerated() where length < 1 {
            throw Failure.configuration("profile: sample \(index): expected at least one token, found none")
        }
        for (index, length) in targets.enumerated() where length < 1 {
            throw Failure.configuration(
                "profile: sample \(index): expected a target of at least one token, found none")
        }
        let samples = sources.indices.map {
            Sample(source: sources[$0], target: targets.isEmpty ? 0 : targets[$0])
        }
        self.samples = samples.sorted {
            ($0.source + $0.target, $0.source) < ($1.source + $1.target, $1.source)
        }
        longest = Sample(source: longestSource, target: targets.max() ?? 0)
        mean = TokenCounts(
            source: Double(sources.reduce(0, +)) / Double(sources.count),
            target: Double(targets.reduce(0, +)) / Double(sources.count))
    }

    /// The lengths of a micro-batch: spread as in the data set, as many tokens as samples of mean length have.
    ///
    /// Samples at evenly spaced quantiles, scaled to the mean. Drawn samples would let a micro-batch of one that happens
    /// to be long take longer than one of two. No length exceeds the longest of the data set.
    package func microBatch(of count: Int) -> [Sample] {
        let chosen = (0..<count).map { samples[(2 * $0 + 1) * samples.count / (2 * count)] }
        func scale(_ length: KeyPath<Sample, Int>, _ mean: Double) -> Double {
            let total = chosen.reduce(0) { $0 + $1[keyPath: length] }
            return total == 0 ? 0 : mean * Double(count) / Double(total)
        }
        let factors = (scale(\.source, mean.source), scale(\.target, mean.target))
        func scaled(_ length: Int, _ factor: Double, _ most: Int) -> Int {
            length == 0 ? 0 : min(max(1, Int((Double(length) * factor).rounded())), most)
        }
        return chosen.map {
            Sample(
                source: scaled($0.source, factors.0, longest.source),
                target: scaled($0.target, factors.1, longest.target))
        }
    }
}
