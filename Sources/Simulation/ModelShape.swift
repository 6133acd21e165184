/// The sizes of a transformer and what its layers are made of: all that the analytic model knows of a model.
public struct ModelShape: Sendable, Equatable {
    /// An encoder or a decoder.
    public struct Stack: Sendable, Equatable {
        public enum Kind: Sendable { case encoder, decoder }
        public var kind: Kind
        public var layerCount: Int
        public var headCount: Int
        public var keyValueHeadCount: Int
        public var headSize: Int
        public var feedForwardWidth: Int

        public init(
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

    /// What the layers do, as far as it decides what backward needs.
    public struct Arithmetic: Sendable, Equatable {
        /// A norm before each sub-layer, as RMS norm in separate operations (T5, Llama), or after it, fused
        /// (BERT, BART).
        public var isPreNorm: Bool
        /// Matrices and norms have biases.
        public var hasBias: Bool
        /// The feed-forward has two input matrices.
        public var isGated: Bool
        /// The activation's backward reads its result (ReLU) rather than its input.
        public var keepsResult: Bool
        /// Dropout falls on the attention probabilities, and on what the activation gives.
        public var dropsProbabilities: Bool
        public var dropsActivations: Bool

        public init(
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
    public var hiddenSize: Int
    public var vocabularySize: Int
    /// Parameters of all token and position tables.
    public var embeddingParameters: Int
    /// Whether the head's matrix is the token table.
    public var isHeadTied: Bool
    /// Whether the head is the language model's, over the whole vocabulary.
    public var hasLanguageModelHead: Bool
    public var stacks: [Stack]
    public var arithmetic: Arithmetic

    public init(
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
    func crosses(_ stack: Stack) -> Bool { stack.kind == .decoder && stacks[0].kind == .encoder }

    /// Blocks before and after each other, in order, with their stack.
    var blocks: [Stack] { stacks.flatMap { Array(repeating: $0, count: $0.layerCount) } }

    /// Parameters of the head's own matrix in a stage that has no token table.
    public var headParameters: Int {
        hasLanguageModelHead ? vocabularySize * hiddenSize : hiddenSize * hiddenSize
    }

    /// Parameters of the whole model, every tensor once.
    public var parameterCount: Int {
        embeddingParameters + (isHeadTied ? 0 : headParameters) + finalNormParameters
            + blocks.reduce(0) { $0 + parameters(of: $1) }
    }

    /// Pre-norm models have a norm behind each stack.
    private var finalNormParameters: Int { arithmetic.isPreNorm ? stacks.count * hiddenSize : 0 }

    /// Parameters of one block.
    public func parameters(of stack: Stack) -> Int {
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
    public func forwardOperations(of stack: Stack, rows: Double, crossRows: Double) -> Double {
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
public enum TuningShape: Sendable, Equatable {
    case full
    /// Bottlenecks of this width behind the self-attention and the feed-forward of every block.
    case adapters(width: Int)
    /// Low-rank matrices beside query and value of every attention, which a dropout of their own may precede.
    case lowRank(rank: Int, hasDropout: Bool)
    /// A side network of blocks k times narrower, which is the given shape.
    case parallelAdapters(side: ModelShape)
}
