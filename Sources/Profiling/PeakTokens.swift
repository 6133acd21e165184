import Plans
import Stages

/// The most tokens that a number of neighbouring slots holds in a run: what a rank's share of a micro-batch can come to.
///
/// The order of samples is known before a run, so this is no estimate. Any run of slots counts, not only those that a plan
/// will cut, so no plan can meet a larger one.
package enum PeakTokens {
    /// Finds the most source and target tokens in 1, 2, ... slots, up to a mini-batch.
    ///
    /// O(steps x slots^2).
    ///
    /// - Parameters:
    ///   - epochs: those that run through the stages.
    ///   - sources: tokens of each sample's input, and `targets` of its target; empty without a decoder behind an encoder.
    package static func find(_ order: SampleOrder, epochs: ClosedRange<Int>, sources: [Int], targets: [Int])
        -> [TokenCounts]
    {
        var peaks = [TokenCounts](repeating: TokenCounts(source: 0), count: order.miniBatchSize)
        for epoch in epochs {
            for samples in order.miniBatches(epoch: epoch) {
                let sources = sums(samples, sources)
                let targets = targets.isEmpty ? nil : sums(samples, targets)
                for count in 1...samples.count {
                    peaks[count - 1].source = max(peaks[count - 1].source, largest(sources, count))
                    guard let targets else { continue }
                    peaks[count - 1].target = max(peaks[count - 1].target, largest(targets, count))
                }
            }
        }
        // A short mini-batch alone would leave the larger counts at 0.
        for count in peaks.indices.dropFirst() {
            peaks[count].source = max(peaks[count].source, peaks[count - 1].source)
            peaks[count].target = max(peaks[count].target, peaks[count - 1].target)
        }
        return peaks
    }

    /// Sums of the first 0, 1, ... samples' lengths.
    private static func sums(_ samples: [Int], _ lengths: [Int]) -> [Int] {
        samples.reduce(into: [0]) { $0.append($0[$0.count - 1] + lengths[$1]) }
    }

    private static func largest(_ sums: [Int], _ count: Int) -> Double {
        var most = 0
        for end in count..<sums.count { most = max(most, sums[end] - sums[end - count]) }
        return Double(most)
    }
}
