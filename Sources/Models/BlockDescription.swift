import TensorCore

/// A norm of a family: its kind, epsilon, and the name of its tensors without ".weight".
public struct NormDescription: Sendable {
    public enum Kind: Sendable { case layerNorm, rmsNorm }
    public let name: String
    public let kind: Kind
    public let epsilon: Float
    public let size: Int

    /// The same norm of another width.
    func resized(to size: Int) -> NormDescription {
        NormDescription(name: name, kind: kind, epsilon: epsilon, size: size)
    }
}

/// An attention sub-layer: names of its tensors without ".weight", sizes, and how it scores.
public struct AttentionDescription: Sendable {
    public enum Kind: String, Sendable {
        case selfAttention = "self"
        case crossAttention = "cross"
    }
    public let kind: Kind
    public let query: String
    public let key: String
    public let value: String
    public let output: String
    public let norm: NormDescription
    /// Whether query, key and value have biases.
    public let hasInputBias: Bool
    public let hasOutputBias: Bool
    public let headCount: Int
    public let keyValueHeadCount: Int
    public let headSize: Int
    public let scale: Float
    public let isCausal: Bool
    public let positions: Positions
    public let dropoutPlaces: DropoutPlaces

    /// How the sub-layer knows where tokens stand.
    public enum Positions: Sendable {
        /// From its input alone.
        case none
        /// The stack's table of distances is added to the scores.
        case distanceTable
        /// Queries and keys are rotated by the stack's frequencies.
        case rotary
    }
}

/// A feed-forward sub-layer: one input matrix, or two when the activation gates the second.
public struct FeedForwardDescription: Sendable {
    public let inputs: [String]
    public let output: String
    public let norm: NormDescription
    public let hasBias: Bool
    public let width: Int
    public let activation: ActivationFunction
    public let dropoutPlaces: DropoutPlaces
}

/// A transformer block of any family, as data.
public struct BlockDescription: Sendable {
    /// Prefix of the block's tensors ("encoder.block.0.").
    public let prefix: String
    public let hiddenSize: Int
    public let attentions: [AttentionDescription]
    public let feedForward: FeedForwardDescription
    /// What is attached behind the self-attention, and behind the feed-forward.
    var attentionSite: String { prefix + "attn_adapter" }
    var feedForwardSite: String { prefix + "ffn_adapter" }
    /// Norm before each sub-layer (T5) rather than after the residual addition (BERT).
    public let isPreNorm: Bool
}

/// T5's learned relative-position table and its buckets.
public struct PositionTableDescription: Sendable {
    public let name: String
    public let bucketCount: Int
    public let headCount: Int
    public let buckets: RelativeBuckets
}
