/// How many bytes training a stage takes on one rank: m_d of eq. (3).
///
/// With float32 parameters, m_d = 4 P + (4 + optimizer + bucket) x trainable + in-flight x saved + transient, where the
/// profile already counts P and trainable in bytes. A stage that recomputes keeps in-flight x its input + saved instead:
/// what backward needs exists for one micro-batch at a time.
public struct MemoryModel: Sendable, Equatable {
    /// Optimizer state in multiples of the trainable bytes.
    public var optimizerStateMultiple: Int

    /// - Parameter optimizerStateMultiple: 2 for AdamW's two moments, 1 for SGD with momentum, 0 for plain SGD.
    public init(optimizerStateMultiple: Int = 2) {
        self.optimizerStateMultiple = optimizerStateMultiple
    }

    /// The most micro-batches that a stage holds between forward and backward under 1F1B, min(M, S - i) with i from 0.
    public static func inFlightCount(stage: Int, stageCount: Int, microBatchCount: Int) -> Int {
        min(microBatchCount, stageCount - stage)
    }

    /// Peak bytes on one rank.
    ///
    /// - Parameters:
    ///   - trainableBytes: counted once more for the gradients and once for the bucket that the all-reduce uses.
    ///   - savedBytes: what backward needs of one micro-batch; every one in flight keeps it.
    ///   - recomputedInputBytes: of one micro-batch, when the stage recomputes; nil when it does not.
    ///   - transientBytes: of the layer that needs most while it runs.
    func peakBytes(
        parameterBytes: Int, trainableBytes: Int, savedBytes: Double, recomputedInputBytes: Double? = nil,
        transientBytes: Double, inFlightCount: Int
    ) -> Int {
        let kept =
            recomputedInputBytes.map { Double(inFlightCount) * $0 + savedBytes }
            ?? Double(inFlightCount) * savedBytes
        return parameterBytes + (1 + optimizerStateMultiple + 1) * trainableBytes
            + Int((kept + transientBytes).rounded(.up))
    }
}
