/// The sizes of a transformer and what its layers are made of: all that the analytic model knows of a model.
package struct ModelShape: Sendable, Equatable {
    /// An encoder or a decoder.
    package struct Stack: Sendable, Equatable {
        package enum Kind: Sendable { case encoder, decoder }
        package var kind: Kind
        package var layerCount: Int
        package var headCount: Int
        package var keyValueHeadCount: Int
        package var headSize: Int
        package var feedForwardWidth: Int

        package init(
            kind: Kind, layerCount: Int, headCount: Int, keyValueHeadCount: Int, headSize: Int,
            feedForwardWidth: Int
        ) {
            self.kind = kind
            self.layerCount = layerCount
            self.headCount = headCount
            self.keyValueHeadCount = keyValueHeadCount
            self.headSize = headSize
            self.feedForwardWidth = feedForwardWidth
        }
    }

    /// The properties of the layers that decide what backward needs.
    package struct Arithmetic: Sendable, Equatable {
        /// A norm before each sub-layer, as RMS norm in separate operations (T5, Llama), or after it, fused
        /// (BERT, BART).
        package var isPreNorm: Bool
        /// Matrices and norms have biases.
        package var hasBias: Bool
        /// The feed-forward has two input matrices.
        package var isGated: Bool
        /// The activation's backward reads its result (ReLU) rather than its input.
        package var keepsResult: Bool
        /// Dropout falls on the attention probabilities, and on what the activation gives.
        package var dropsProbabilities: Bool
        package var dropsActivations: Bool

        package init(
            isPreNorm: Bool, hasBias: Bool, isGated: Bool, keepsResult: Bool, dropsProbabilities: Bool,
            dropsActivations: Bool
        ) {
            self.isPreNorm = isPreNorm
            self.hasBias = hasBias
            self.isGated = isGated
            self.keepsResult = keepsResult
            self.dropsProbabilities = dropsProbabilities
            self.dropsActivations = dropsActivations
        }
    }

    /// d.
    package var hiddenSize: Int
    package var vocabularySize: Int
    /// Parameters of all token and position tables.
    package var embeddingParameters: Int
    /// Whether the head's matrix is the token table.
    package var isHeadTied: Bool
    /// Whether the head is the language model's, over the whole vocabulary.
    package var hasLanguageModelHead: Bool
    package var stacks: [Stack]
    package var arithmetic: Arithmetic

    package init(
        hiddenSize: Int, vocabularySize: Int, embeddingParameters: Int, isHeadTied: Bool,
        hasLanguageModelHead: Bool, stacks: [Stack], arithmetic: Arithmetic
    ) {
        self.hiddenSize = hiddenSize
        self.vocabularySize = vocabularySize
        self.embeddingParameters = embeddingParameters
        self.isHeadTied = isHeadTied
        self.hasLanguageModelHead = hasLanguageModelHead
        self.stacks = stacks
        self.arithmetic = arithmetic
    }

    /// Whether a stack looks at another one's result.
    package func crosses(_ stack: Stack) -> Bool { stack.kind == .decoder && stacks[0].kind == .encoder }

    /// Blocks before and after each other, in order, with their stack.
    package var blocks: [Stack] { stacks.flatMap { Array(repeating: $0, count: $0.layerCount) } }

    /// Parameters of the head's own matrix in a stage that has no token table.
    package var headParameters: Int {
        hasLanguageModelHead ? vocabularySize * hiddenSize : hiddenSize * hiddenSize
    }

    /// Parameters of the whole model, every tensor once.
    package var parameterCount: Int {
        embeddingParameters + (isHeadTied ? 0 : headParameters) + finalNormParameters
            + blocks.reduce(0) { $0 + parameters(of: $1) }
    }

    /// Pre-norm models have a norm behind each stack.
    private var finalNormParameters: Int { arithmetic.isPreNorm ? stacks.count * hiddenSize : 0 }

    /// Parameters of one block.
    package func parameters(of stack: Stack) -> Int {
        let d = hiddenSize
        let (inner, narrow) = (stack.headCount * stack.headSize, stack.keyValueHeadCount * stack.headSize)
        let attentions = crosses(stack) ? 2 : 1
        let inputs = arithmetic.isGated ? 2 : 1
        let width = stack.feedForwardWidth
        let matrices = attentions * (2 * d * inner + 2 * d * narrow) + (inputs + 1) * d * width
        let norms = (attentions + 1) * d
        guard arithmetic.hasBias else { return matrices + norms }
        return matrices + 2 * norms + attentions * (inner + 2 * narrow + d) + inputs * width + d
    }

    /// Floating-point operations of one block forward.
    ///
    /// - Parameters:
    ///   - rows: tokens of the block's own stack.
    ///   - crossRows: tokens of the encoder, for a block that looks at it.
    package func forwardOperations(of stack: Stack, rows: Double, crossRows: Double) -> Double {
        let d = Double(hiddenSize)
        let (inner, narrow) = (
            Double(stack.headCount * stack.headSize), Double(stack.keyValueHeadCount * stack.headSize)
        )
        let inputs = arithmetic.isGated ? 2.0 : 1
        var products =
            rows * (2 * d * inner + 2 * d * narrow + (inputs + 1) * d * Double(stack.feedForwardWidth))
        var scores = rows * rows * inner
        if crosses(stack) {
            products += rows * 2 * d * inner + crossRows * 2 * d * narrow
            scores += rows * crossRows * inner
        }
        return 2 * products + 4 * scores
    }
}

/// What is trained, with the sizes that matter: a technique as the analytic model knows it.
package enum TuningShape: Sendable, Equatable {
    case full
    /// Bottlenecks of this width behind the self-attention and the feed-forward of every block.
    case adapters(width: Int)
    /// Low-rank matrices beside query and value of every attention, which a dropout of their own may precede.
    case lowRank(rank: Int, hasDropout: Bool)
    /// A side network of blocks k times narrower, which is the given shape.
    case parallelAdapters(side: ModelShape)
}
