/// What m_d of eq. (3) takes for each parameter.
///
/// With float32 parameters, m_d = 4 P + (4 + optimizer + bucket) x trainable + in-flight x saved + transient.
/// `StageMemory` computes it from a profile.
package struct MemoryModel: Sendable, Equatable {
    /// Optimizer state in multiples of the trainable bytes.
    package var optimizerStateMultiple: Int
    /// Copies of the gradients that the all-reduce makes; 0 where it sums them in place.
    package var bucketMultiple: Int
    /// Whether rows for the cache wait for the disk, of a technique that has any.
    package var fillsCache: Bool

    /// - Parameters:
    ///   - optimizerStateMultiple: 2 for AdamW's two moments, 1 for SGD with momentum, 0 for plain SGD.
    ///   - bucketMultiple: 0 for this program, 1 for PyTorch's data parallelism.
    package init(optimizerStateMultiple: Int = 2, bucketMultiple: Int = 0, fillsCache: Bool = true) {
        self.optimizerStateMultiple = optimizerStateMultiple
        self.bucketMultiple = bucketMultiple
        self.fillsCache = fillsCache
    }
}
