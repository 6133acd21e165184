import Support
import TensorCore

/// Llama (Touvron et al. 2023) and Qwen2: a decoder of pre-norm blocks with rotary positions, grouped queries and a gated
/// feed-forward. Qwen2 differs in the biases of query, key and value.
public struct LlamaFamily: ModelFamily {
    public let name: String
    public let hiddenSize: Int
    public let vocabularySize: Int
    public let dropout: Double
    public let generationTokens: GenerationTokens?
    public let maximumPositions: Int?
    private let blockCount: Int
    private let headCount: Int
    private let keyValueHeadCount: Int
    private let headSize: Int
    private let feedForwardSize: Int
    private let epsilon: Float
    private let activation: ActivationFunction
    private let hasInputBias: Bool
    private let hasOutputBias: Bool
    private let hasFeedForwardBias: Bool
    private let isTied: Bool
    private let frequencies: [Float]

    /// Decodes `config.json`; absent keys have Hugging Face's class defaults.
    init(_ configuration: JSONObjectReader) throws {
        name = try configuration.required("model_type").string()
        let isQwen = name == "qwen2"
        func integer(_ key: String, _ fallback: Int) throws -> Int {
            try configuration.optional(key)?.integer(in: 1...Int(Int32.max)) ?? fallback
        }
        func flag(_ key: String) throws -> Bool { try configuration.optional(key)?.bool() ?? false }
        hiddenSize = try integer("hidden_size", 4096)
        vocabularySize = try integer("vocab_size", isQwen ? 151_936 : 32_000)
        blockCount = try integer("num_hidden_layers", 32)
        headCount = try integer("num_attention_heads", 32)
        keyValueHeadCount = try integer("num_key_value_heads", isQwen ? 32 : headCount)
        feedForwardSize = try integer("intermediate_size", isQwen ? 22_016 : 11_008)
        maximumPositions = try integer("max_position_embeddings", isQwen ? 32_768 : 2048)
        epsilon = Float(try configuration.optional("rms_norm_eps")?.number(in: 0...1) ?? 1e-6)
        dropout = try configuration.optional("attention_dropout")?.number(in: 0...0.99) ?? 0
        activation = try ActivationFunction(configuration.optional("hidden_act"), default: .silu)
        hasInputBias = try isQwen || flag("attention_bias")
        hasOutputBias = try !isQwen && flag("attention_bias")
        hasFeedForwardBias = try !isQwen && flag("mlp_bias")
        isTied = try flag("tie_word_embeddings")
        generationTokens = GenerationTokens(start: nil, ends: try readTokens(configuration, "eos_token_id"))

        let size = try integer("head_dim", hiddenSize / headCount)
        headSize = size
        guard configuration.optional("head_dim") != nil || hiddenSize % headCount == 0,
            headCount % keyValueHeadCount == 0, size % 2 == 0
        else {
            throw Failure.configuration(
                "\(configuration.reader.file): expected attention heads that divide hidden_size \(hiddenSize), "
                    + "are a multiple of the key/value heads and have an even size, found \(headCount) heads, "
                    + "\(keyValueHeadCount) key/value heads of size \(size)")
        }
        if let window = configuration.optional("use_sliding_window"), try window.bool() {
            throw window.failure(expected: "false: attention within a sliding window is not built in")
        }
        if let part = configuration.optional("partial_rotary_factor"), try part.number() != 1 {
            throw part.failure(expected: "1: rotary positions on a part of each head are not built in")
        }
        frequencies = try RotaryFrequencies.read(configuration, headSize: size)
    }

    private init(_ full: LlamaFamily, reducedBy k: Int) throws {
        hiddenSize = try divide(full.hiddenSize, by: k, "hidden_size")
        headSize = 2 * (try divide(full.headSize / 2, by: k, "pairs of a head's dimensions"))
        feedForwardSize = try divide(full.feedForwardSize, by: k, "intermediate_size")
        frequencies = stride(from: 0, to: full.frequencies.count, by: k).map { full.frequencies[$0] }
        (name, vocabularySize, dropout) = (full.name, full.vocabularySize, full.dropout)
        (generationTokens, maximumPositions) = (full.generationTokens, full.maximumPositions)
        (blockCount, headCount, keyValueHeadCount) = (full.blockCount, full.headCount, full.keyValueHeadCount)
        (epsilon, activation, isTied) = (full.epsilon, full.activation, full.isTied)
        (hasInputBias, hasOutputBias) = (full.hasInputBias, full.hasOutputBias)
        hasFeedForwardBias = full.hasFeedForwardBias
    }

    public var stacks: [StackDescription] { [StackDescription(kind: .decoder, blockCount: blockCount)] }
    public var dropsEmbedding: Bool { false }
    public var dropsFinalNorm: Bool { false }
    public var tokenEmbeddingName: String { "model.embed_tokens.weight" }
    public var optionalPrefix: String? { "model." }
    public var head: HeadDescription {
        HeadDescription(
            languageModel: LanguageModelDescription(weight: isTied ? tokenEmbeddingName : "lm_head.weight"),
            classifier: ClassifierDescription(token: .last, hidden: nil, output: "score", hasBias: false))
    }

    public func reduced(by k: Int) throws -> LlamaFamily { try LlamaFamily(self, reducedBy: k) }
    public func finalNorm(_ stack: StackKind) -> NormDescription? { norm("model.norm") }
    public func positionTable(_ stack: StackKind) -> PositionTableDescription? { nil }
    public func rotaryFrequencies(_ stack: StackKind) -> [Float]? { frequencies }
    public func tiedNames(of name: String) -> [String] {
        isTied && name == tokenEmbeddingName ? ["lm_head.weight"] : []
    }

    public func block(_ stack: StackKind, _ index: Int) -> BlockDescription {
        let prefix = "model.layers.\(index)."
        let attention = prefix + "self_attn."
        return BlockDescription(
            prefix: prefix, hiddenSize: hiddenSize,
            attentions: [
                AttentionDescription(
                    kind: .selfAttention, query: attention + "q_proj", key: attention + "k_proj",
                    value: attention + "v_proj", output: attention + "o_proj",
                    norm: norm(prefix + "input_layernorm"), hasInputBias: hasInputBias,
                    hasOutputBias: hasOutputBias, headCount: headCount, keyValueHeadCount: keyValueHeadCount,
                    headSize: headSize, scale: 1 / Float(headSize).squareRoot(), isCausal: true,
                    positions: .rotary)
            ],
            feedForward: FeedForwardDescription(
                inputs: [prefix + "mlp.gate_proj", prefix + "mlp.up_proj"], output: prefix + "mlp.down_proj",
                norm: norm(prefix + "post_attention_layernorm"), hasBias: hasFeedForwardBias,
                width: feedForwardSize, activation: activation, hasInnerDropout: false),
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
