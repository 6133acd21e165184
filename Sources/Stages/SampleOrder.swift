import Support

/// The order of samples, the same under every plan.
///
/// A seeded permutation deals the data set into as many slots as a mini-batch has samples (sample k of the permutation
/// to slot k mod size). Every mini-batch takes the next sample of each slot; each epoch reshuffles within slots only.
/// In cached epochs a slot belongs to one rank for good, so no rank is ever short. Without shuffling the file's order
/// is dealt the same way, so that mini-batch t is the t-th run of consecutive rows.
package struct SampleOrder: Sendable {
    package let sampleCount: Int
    package let miniBatchSize: Int
    private let seed: UInt64
    private let isShuffled: Bool
    private let slots: [[Int]]

    package init(sampleCount: Int, miniBatchSize: Int, isShuffled: Bool, seed: UInt64) {
        self.sampleCount = sampleCount
        self.miniBatchSize = miniBatchSize
        self.seed = seed
        self.isShuffled = isShuffled
        let dealt =
            isShuffled
            ? CounterRandom(seed: seed, name: "deal").permutation(count: sampleCount) : Array(0..<sampleCount)
        slots = (0..<miniBatchSize).map { slot in
            stride(from: slot, to: sampleCount, by: miniBatchSize).map { dealt[$0] }
        }
    }

    /// Mini-batches in an epoch; the last may be short and then has the first slots only.
    package var stepCount: Int { (sampleCount + miniBatchSize - 1) / miniBatchSize }

    /// The samples of an epoch (from 1), mini-batch by mini-batch; the position in a mini-batch is the slot.
    package func miniBatches(epoch: Int) -> [[Int]] {
        let shuffled = slots.enumerated().map { slot, samples in
            isShuffled
                ? CounterRandom(seed, UInt64(epoch), UInt64(slot)).permutation(count: samples.count).map {
                    samples[$0]
                }
                : samples
        }
        return (0..<stepCount).map { step in
            shuffled.compactMap { step < $0.count ? $0[step] : nil }
        }
    }
}
