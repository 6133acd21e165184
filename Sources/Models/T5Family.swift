import Support
import TensorCore

/// T5 v1.0 and v1.1 (Raffel et al. 2020): encoder and decoder of pre-norm blocks with relative positions, no biases.
public struct T5Family: ModelFamily {
    public let hiddenSize: Int
    public let vocabularySize: Int
    public let dropout: Double
    public let generationTokens: GenerationTokens?
    private let encoderBlockCount: Int
    private let decoderBlockCount: Int
    private let headCount: Int
    private let headSize: Int
    private let feedForwardSize: Int
    private let bucketCount: Int
    private let maximumDistance: Int
    private let epsilon: Float
    private let activation: ActivationFunction
    private let isGated: Bool
    private let isTied: Bool

    /// Decodes `config.json`; absent keys have Hugging Face's class defaults (published v1.0 files lack several).
    init(_ configuration: JSONObjectReader) throws {
        func integer(_ key: String, _ fallback: Int, from low: Int = 1) throws -> Int {
            try configuration.optional(key)?.integer(in: low...Int(Int32.max)) ?? fallback
        }
        hiddenSize = try integer("d_model", 512)
        vocabularySize = try integer("vocab_size", 32128)
        encoderBlockCount = try integer("num_layers", 6)
        decoderBlockCount = try integer("num_decoder_layers", encoderBlockCount)
        headCount = try integer("num_heads", 8)
        headSize = try integer("d_kv", 64)
        feedForwardSize = try integer("d_ff", 2048)
        bucketCount = try integer("relative_attention_num_buckets", 32)
        maximumDistance = try integer("relative_attention_max_distance", 128)
        generationTokens = GenerationTokens(
            start: Int32(try integer("decoder_start_token_id", integer("pad_token_id", 0, from: 0), from: 0)),
            ends: [Int32(try integer("eos_token_id", 1, from: 0))])
        epsilon = Float(try configuration.optional("layer_norm_epsilon")?.number(in: 0...1) ?? 1e-6)
        dropout = try configuration.optional("dropout_rate")?.number(in: 0...0.99) ?? 0.1
        isTied = try configuration.optional("tie_word_embeddings")?.bool() ?? true
        let projection =
            try configuration.optional("feed_forward_proj")?.choice([
                "relu", "gated-gelu", "gated-silu", "gelu_new",
            ])
            ?? "relu"
        isGated = projection.hasPrefix("gated-")
        switch projection {
        case "relu": activation = .relu
        case "gated-silu": activation = .silu
        default: activation = .geluTanh  // Hugging Face reads "gated-gelu" as gelu_new
        }
    }

    private init(_ full: T5Family, reducedBy k: Int) throws {
        hiddenSize = try divide(full.hiddenSize, by: k, "d_model")
        headSize = try divide(full.headSize, by: k, "d_kv")
        feedForwardSize = try divide(full.feedForwardSize, by: k, "d_ff")
        (vocabularySize, dropout) = (full.vocabularySize, full.dropout)
        generationTokens = full.generationTokens
        (encoderBlockCount, decoderBlockCount) = (full.encoderBlockCount, full.decoderBlockCount)
        (headCount, bucketCount, maximumDistance) = (full.headCount, full.bucketCount, full.maximumDistance)
        (epsilon, activation, isGated, isTied) = (full.epsilon, full.activation, full.isGated, full.isTied)
    }

    public var name: String { "t5" }
    public var stacks: [StackDescription] {
        [
            StackDescription(kind: .encoder, blockCount: encoderBlockCount),
            StackDescription(kind: .decoder, blockCount: decoderBlockCount),
        ]
    }
    public var maximumPositions: Int? { nil }
    public var dropsEmbedding: Bool { true }
    public var dropsFinalNorm: Bool { true }
    public var tokenEmbeddingName: String { "shared.weight" }
    public var optionalPrefix: String? { nil }

    /// Tied (v1.0): the embedding serves as the head's matrix and its input is scaled by d^-½.
    public var head: HeadDescription {
        HeadDescription(
            languageModel: isTied
                ? LanguageModelDescription(
                    weight: tokenEmbeddingName, inputScale: 1 / Float(hiddenSize).squareRoot())
                : LanguageModelDescription(weight: "lm_head.weight"),
            classifier: ClassifierDescription(token: .first, hidden: nil, output: "classifier", hasBias: true)
        )
    }

    public func reduced(by k: Int) throws -> T5Family { try T5Family(self, reducedBy: k) }

    public func finalNorm(_ stack: StackKind) -> NormDescription? {
        norm("\(stack.rawValue).final_layer_norm")
    }

    public func positionTable(_ stack: StackKind) -> PositionTableDescription? {
        PositionTableDescription(
            name: "\(stack.rawValue).block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            bucketCount: bucketCount, headCount: headCount,
            buckets: RelativeBuckets(
                count: bucketCount, maximumDistance: maximumDistance, isBidirectional: stack == .encoder))
    }

    public func rotaryFrequencies(_ stack: StackKind) -> [Float]? { nil }

    public func tiedNames(of name: String) -> [String] {
        guard name == tokenEmbeddingName else { return [] }
        return ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
            + (isTied ? ["lm_head.weight"] : [])
    }

    public func block(_ stack: StackKind, _ index: Int) -> BlockDescription {
        let prefix = "\(stack.rawValue).block.\(index)."
        func attention(_ kind: AttentionDescription.Kind, _ place: String, _ layer: Int)
            -> AttentionDescription
        {
            let names = prefix + "layer.\(layer).\(place)."
            return AttentionDescription(
                kind: kind, query: names + "q", key: names + "k", value: names + "v", output: names + "o",
                norm: norm(prefix + "layer.\(layer).layer_norm"), hasInputBias: false, hasOutputBias: false,
                headCount: headCount,
                keyValueHeadCount: headCount, headSize: headSize, scale: 1,
                isCausal: kind == .selfAttention && stack == .decoder,
                positions: kind == .selfAttention ? .distanceTable : .none)
        }
        let crosses = stack == .decoder ? [attention(.crossAttention, "EncDecAttention", 1)] : []
        let last = prefix + "layer.\(stack == .decoder ? 2 : 1)."
        return BlockDescription(
            prefix: prefix, hiddenSize: hiddenSize,
            attentions: [attention(.selfAttention, "SelfAttention", 0)] + crosses,
            feedForward: FeedForwardDescription(
                inputs: (isGated ? ["wi_0", "wi_1"] : ["wi"]).map { last + "DenseReluDense." + $0 },
                output: last + "DenseReluDense.wo", norm: norm(last + "layer_norm"), hasBias: false,
                width: feedForwardSize, activation: activation, hasInnerDropout: true),
            isPreNorm: true)
    }

    public func makeEmbedding(_ stack: StackKind, _ source: any ParameterSource) throws -> any EmbeddingLayer
    {
        TokenEmbedding(table: try source.parameter(tokenEmbeddingName, [vocabularySize, hiddenSize]))
    }

    private func norm(_ name: String) -> NormDescription {
        NormDescription(name: name, kind: .rmsNorm, epsilon: epsilon, size: hiddenSize)
    }
}
