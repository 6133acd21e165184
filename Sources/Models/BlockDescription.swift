import TensorCore

/// A norm of a family: its kind, epsilon, and the name of its tensors without ".weight".
package struct NormDescription: Sendable {
    package enum Kind: Sendable { case layerNorm, rmsNorm }
    package let name: String
    package let kind: Kind
    package let epsilon: Float
    package let size: Int

    package init(name: String, kind: Kind, epsilon: Float, size: Int) {
        self.name = name
        self.kind = kind
        self.epsilon = epsilon
        self.size = size
    }

    /// The same norm of another width.
    func resized(to size: Int) -> NormDescription {
        NormDescription(name: name, kind: kind, epsilon: epsilon, size: size)
    }
}

/// An attention sub-layer: names of its tensors without ".weight", sizes, and how it scores.
package struct AttentionDescription: Sendable {
    package enum Kind: String, Sendable {
        case selfAttention = "self"
        case crossAttention = "cross"
    }
    package let kind: Kind
    package let query: String
    package let key: String
    package let value: String
    package let output: String
    package let norm: NormDescription
    /// Whether query, key and value have biases.
    package let hasInputBias: Bool
    package let hasOutputBias: Bool
    package let headCount: Int
    package let keyValueHeadCount: Int
    package let headSize: Int
    package let scale: Float
    package let isCausal: Bool
    package let positions: Positions
    package let dropoutPlaces: DropoutPlaces

    package init(
        kind: Kind, query: String, key: String, value: String, output: String, norm: NormDescription,
        hasInputBias: Bool, hasOutputBias: Bool, headCount: Int, keyValueHeadCount: Int, headSize: Int,
        scale: Float, isCausal: Bool, positions: Positions, dropoutPlaces: DropoutPlaces
    ) {
        self.kind = kind
        self.query = query
        self.key = key
        self.value = value
        self.output = output
        self.norm = norm
        self.hasInputBias = hasInputBias
        self.hasOutputBias = hasOutputBias
        self.headCount = headCount
        self.keyValueHeadCount = keyValueHeadCount
        self.headSize = headSize
        self.scale = scale
        self.isCausal = isCausal
        self.positions = positions
        self.dropoutPlaces = dropoutPlaces
    }

    /// How the sub-layer knows where tokens stand.
    package enum Positions: Sendable {
        /// From its input alone.
        case none
        /// The stack's table of distances is added to the scores.
        case distanceTable
        /// Queries and keys are rotated by the stack's frequencies.
        case rotary
    }
}

/// A feed-forward sub-layer: one input matrix, or two when the activation gates the second.
package struct FeedForwardDescription: Sendable {
    package let inputs: [String]
    package let output: String
    package let norm: NormDescription
    package let hasBias: Bool
    package let width: Int
    package let activation: ActivationFunction
    package let dropoutPlaces: DropoutPlaces

    package init(
        inputs: [String], output: String, norm: NormDescription, hasBias: Bool, width: Int,
        activation: ActivationFunction, dropoutPlaces: DropoutPlaces
    ) {
        self.inputs = inputs
        self.output = output
        self.norm = norm
        self.hasBias = hasBias
        self.width = width
        self.activation = activation
        self.dropoutPlaces = dropoutPlaces
    }
}

/// A transformer block of any family, as data.
package struct BlockDescription: Sendable {
    /// Prefix of the block's tensors ("encoder.block.0.").
    package let prefix: String
    package let hiddenSize: Int
    package let attentions: [AttentionDescription]
    package let feedForward: FeedForwardDescription
    /// What is attached behind the self-attention, and behind the feed-forward.
    var attentionSite: String { prefix + "attn_adapter" }
    var feedForwardSite: String { prefix + "ffn_adapter" }
    /// Norm before each sub-layer (T5) rather than after the residual addition (BERT).
    package let isPreNorm: Bool

    package init(
        prefix: String, hiddenSize: Int, attentions: [AttentionDescription],
        feedForward: FeedForwardDescription, isPreNorm: Bool
    ) {
        self.prefix = prefix
        self.hiddenSize = hiddenSize
        self.attentions = attentions
        self.feedForward = feedForward
        self.isPreNorm = isPreNorm
    }
}

/// T5's learned relative-position table and its buckets.
package struct PositionTableDescription: Sendable {
    package let name: String
    package let bucketCount: Int
    package let headCount: Int
    package let buckets: RelativeBuckets

    package init(name: String, bucketCount: Int, headCount: Int, buckets: RelativeBuckets) {
        self.name = name
        self.bucketCount = bucketCount
        self.headCount = headCount
        self.buckets = buckets
    }
}
