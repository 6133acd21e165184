/// Bytes that one block of a PyTorch-like implementation keeps from forward to backward, float32.
///
/// Counted operation by operation from what PyTorch 2's autograd saves for Hugging Face's models: a linear
/// layer keeps its input if its matrix is trained; RMS norm in separate operations keeps its input, and what
/// it normalised if its weight is trained; softmax keeps its result; dropout a mask of one byte an element.
/// In closed form for T5's encoder: full tuning n (42 d + 9 w) + 9 H n², frozen n (22 d + 5 w) + 9 H n².
struct SavedBytes {
    let shape: ModelShape
    let stack: ModelShape.Stack
    /// Whether the model's own dropout is on.
    let hasDropout: Bool

    /// - Parameters:
    ///   - rows, crossRows: tokens of the block's own stack, and of the encoder it looks at.
    ///   - isTrained: whether the block's own matrices are.
    func block(rows: Double, crossRows: Double, isTrained: Bool) -> Double {
        let d = Double(shape.hiddenSize)
        let inner = Double(stack.headCount * stack.headSize)
        let narrow = Double(stack.keyValueHeadCount * stack.headSize)
        let arithmetic = shape.arithmetic
        let mask: Double = hasDropout ? 1 : 0
        let score = Double(stack.headCount) * (arithmetic.dropsProbabilities && hasDropout ? 9 : 4)
        let norm = 4 * d * (arithmetic.isPreNorm && isTrained ? 2 : 1)
        // What the sub-layer's input matrices and its output matrix read.
        func inputs(_ output: Double) -> Double { isTrained ? 4 * d + 4 * output : 0 }
        var bytes = rows * (norm + inputs(inner) + 4 * inner + 8 * narrow + mask * d) + score * rows * rows
        if shape.crosses(stack) {
            bytes += rows * (norm + inputs(inner) + 4 * inner + mask * d) + crossRows * 8 * narrow
            bytes += score * rows * crossRows
        }
        bytes += rows * (norm + (isTrained ? 4 * d : 0) + mask * d)
        return bytes + rows * Double(stack.feedForwardWidth) * perUnit(isTrained)
    }

    /// Bytes of one token and one unit of the feed-forward's width.
    private func perUnit(_ isTrained: Bool) -> Double {
        let drops = shape.arithmetic.dropsActivations && hasDropout
        // A mask, and under a trained output matrix what it reads.
        let dropped: Double = drops ? (isTrained ? 5 : 1) : 0
        if shape.arithmetic.isGated { return 12 + dropped + (isTrained && !drops ? 4 : 0) }
        // ReLU's result is also what the output matrix reads.
        return 4 + dropped + (isTrained && !drops && !shape.arithmetic.keepsResult ? 4 : 0)
    }

    /// What the bottlenecks behind both sub-layers keep: what each reads, and its narrow result.
    func adapters(width: Int, rows: Double) -> Double {
        rows * (8 * Double(shape.hiddenSize) + 8 * Double(width))
    }

    /// What the low-rank matrices beside query and value keep. Without a dropout of their own, both read one
    /// tensor.
    func lowRank(rank: Int, hasDropout: Bool, rows: Double, crossRows: Double) -> Double {
        let (d, r) = (Double(shape.hiddenSize), Double(rank))
        var bytes = rows * ((hasDropout ? 10 : 4) * d + 8 * r)
        if shape.crosses(stack) {
            bytes +=
                rows * ((hasDropout ? 5 : 4) * d + 4 * r) + crossRows * ((hasDropout ? 5 : 0) * d + 4 * r)
        }
        return bytes
    }
}

/// How many bytes a rank of a PyTorch-like implementation needs, from a profile: m_d of eq. (3).
///
/// It differs from `MemoryModel`, which describes this program, in three points: a stage that has both ends
/// of a model with a tied head holds one table; an all-reduce may need a bucket beside the gradients, on
/// ranks that have a group; and nothing is transient.
package struct TrainingMemory: Sendable, Equatable {
    /// Optimizer state in multiples of the trainable bytes: 2 for Adam, 0 for a stateless one.
    package var optimizerMultiple: Int
    /// What an all-reduce needs beside the gradients, in multiples of the trainable bytes.
    package var bucketMultiple: Int
    /// Bytes of the table that head and embedding share, 0 when they do not.
    package var tiedBytes: Int
    /// Whether that table is trained.
    package var isTableTrained: Bool

    package init(optimizerMultiple: Int, bucketMultiple: Int, tiedBytes: Int, isTableTrained: Bool) {
        self.optimizerMultiple = optimizerMultiple
        self.bucketMultiple = bucketMultiple
        self.tiedBytes = tiedBytes
        self.isTableTrained = isTableTrained
    }

    /// Bytes of one rank by what they are for.
    package struct Footprint: Sendable, Equatable {
        package var weights = 0
        /// Gradients, with the bucket.
        package var gradients = 0
        package var optimizer = 0
        /// Of all micro-batches in flight.
        package var activations = 0
        package var total: Int { weights + gradients + optimizer + activations }
    }

    /// - Parameters:
    ///   - parameterBytes, trainableBytes: of the stage's layers, a tied head counted with its own table.
    ///   - savedBytes: kept by the rank's share of all micro-batches in flight.
    ///   - holdsModel: whether the stage has every layer.
    ///   - groupSize: ranks of the stage group.
    package func footprint(
        parameterBytes: Int, trainableBytes: Int, savedBytes: Double, holdsModel: Bool, groupSize: Int
    ) -> Footprint {
        let trainable = trainableBytes - (holdsModel && isTableTrained ? tiedBytes : 0)
        return Footprint(
            weights: parameterBytes - (holdsModel ? tiedBytes : 0),
            gradients: trainable * (1 + (groupSize > 1 ? bucketMultiple : 0)),
            optimizer: trainable * optimizerMultiple, activations: Int(savedBytes.rounded(.up)))
    }
}
