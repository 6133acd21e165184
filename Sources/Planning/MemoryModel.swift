/// How many bytes training a stage takes on one rank: m_d of eq. (3).
///
/// With float32 parameters, m_d = 4 P + (4 + optimizer + bucket) x trainable + in-flight x saved + transient, where the
/// profile already counts P and trainable in bytes; beyond the paper's, what is under way to other stages and to the disk.
public struct MemoryModel: Sendable, Equatable {
    /// Optimizer state in multiples of the trainable bytes.
    public var optimizerStateMultiple: Int
    /// Copies of the gradients that the all-reduce makes; 0 where it sums them in place.
    public var bucketMultiple: Int

    /// - Parameters:
    ///   - optimizerStateMultiple: 2 for AdamW's two moments, 1 for SGD with momentum, 0 for plain SGD.
    ///   - bucketMultiple: 0 for this program, 1 for PyTorch's data parallelism.
    public init(optimizerStateMultiple: Int = 2, bucketMultiple: Int = 0) {
        self.optimizerStateMultiple = optimizerStateMultiple
        self.bucketMultiple = bucketMultiple
    }

    /// The most micro-batches that a stage holds between forward and backward under 1F1B, min(M, S - i) with i from 0.
    public static func inFlightCount(stage: Int, stageCount: Int, microBatchCount: Int) -> Int {
        min(microBatchCount, stageCount - stage)
    }

    /// What a rank's share of a micro-batch takes in a stage, in bytes.
    struct Load {
        /// All parameters of the stage, each once, and of them those that are trained.
        var parameterBytes = 0
        var trainableBytes = 0
        /// Kept from forward to backward by all micro-batches in flight.
        var keptBytes = 0.0
        /// Of the layer that needs most while it runs.
        var transientBytes = 0.0
        /// In messages under way or posted ahead.
        var exchangeBytes = 0.0
        /// Of one micro-batch's rows of the cache.
        var cacheBytes = 0.0
    }

    /// Peak bytes on one rank.
    ///
    /// - Parameter microBatchCount: of a mini-batch.
    func peakBytes(_ load: Load, microBatchCount: Int) -> Int {
        // One micro-batch's rows of the cache are filled while another's are written.
        let queued = Double(min(2, microBatchCount)) * load.cacheBytes
        return load.parameterBytes + (1 + optimizerStateMultiple + bucketMultiple) * load.trainableBytes
            + Int((load.keptBytes + load.transientBytes + load.exchangeBytes + queued).rounded(.up))
    }
}
