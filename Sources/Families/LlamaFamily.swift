import Models
import Support
import TensorCore

/// Llama (Touvron et al. 2023) and Qwen2: a decoder of pre-norm blocks with rotary positions, grouped queries and a gated
/// feed-forward. Qwen2 differs in the biases of query, key and value.
package struct LlamaFamily: ModelFamily {
    package let name: String
    package private(set) var hiddenSize: Int
    package let vocabularySize: Int
    package let dropout: Double
    package let dropoutPlaces: DropoutPlaces
    package let paddingID: Int32?
    package let generationTokens: GenerationTokens?
    package let maximumPositions: Int?
    private let blockCount: Int
    private let headCount: Int
    private let keyValueHeadCount: Int
    private var headSize: Int
    private var feedForwardSize: Int
    private let epsilon: Float
    private let activation: ActivationFunction
    private let hasInputBias: Bool
    private let hasOutputBias: Bool
    private let hasFeedForwardBias: Bool
    private let isTied: Bool
    private var frequencies: [Float]

    /// Decodes `config.json`; absent keys have Hugging Face's class defaults.
    init(_ files: ModelConfiguration) throws {
        let type = try files.model.required("model_type").string()
        let isQwen = type == "qwen2"
        name = type
        let prefix = isQwen ? "Qwen2" : "Llama"
        try files.requireClass(
            [
                "Model", "ForCausalLM", "ForSequenceClassification", "ForTokenClassification",
                "ForQuestionAnswering",
            ]
            .map { prefix + $0 } + (isQwen ? [] : ["LLaMAForCausalLM"]))
        hiddenSize = try files.size("hidden_size", default: 4096)
        vocabularySize = try files.size("vocab_size", default: isQwen ? 151_936 : 32_000)
        blockCount = try files.size("num_hidden_layers", default: 32)
        headCount = try files.size("num_attention_heads", default: 32)
        keyValueHeadCount = try files.size("num_key_value_heads", default: isQwen ? 32 : headCount)
        feedForwardSize = try files.size("intermediate_size", default: isQwen ? 22_016 : 11_008)
        let positionCount = try files.size("max_position_embeddings", default: isQwen ? 32_768 : 2048)
        maximumPositions = positionCount
        epsilon = Float(try files.number("rms_norm_eps", in: 0...1, default: 1e-6))
        (dropout, dropoutPlaces) = try DropoutPlaces.read(
            files.model, [("attention_dropout", 0, .probabilities)])
        activation = try files.activation("hidden_act", default: .silu)
        hasInputBias = try isQwen || files.flag("attention_bias")
        hasOutputBias = try !isQwen && files.flag("attention_bias")
        hasFeedForwardBias = try !isQwen && files.flag("mlp_bias")
        isTied = try files.flag("tie_word_embeddings")
        paddingID = try files.paddingID(default: nil, vocabularySize: vocabularySize)
        generationTokens = try GenerationTokens(files, start: nil, ends: isQwen ? [] : [2])

        let size = try files.size("head_dim", default: hiddenSize / headCount)
        headSize = size
        guard files.model.optional("head_dim") != nil || hiddenSize % headCount == 0,
            headCount % keyValueHeadCount == 0, size % 2 == 0
        else {
            throw files.failure(
                "expected attention heads that divide hidden_size \(hiddenSize), are a multiple of the key/value "
                    + "heads and have an even size, found \(headCount) heads, \(keyValueHeadCount) key/value "
                    + "heads of size \(size)")
        }
        frequencies = try RotaryFrequencies.read(files.model, headSize: size)
        if isQwen {
            try Self.requireFullAttention(files, blockCount: blockCount, positionCount: positionCount)
        }
    }

    /// Refuses Qwen2's attention within a window, unless no layer has it or no input is longer than the window.
    private static func requireFullAttention(
        _ files: ModelConfiguration, blockCount: Int, positionCount: Int
    ) throws {
        guard let flag = files.model.optional("use_sliding_window"), try flag.bool(),
            try files.size("sliding_window", default: 4096) < positionCount
        else { return }
        if let types = files.model.optional("layer_types") {
            for type in try types.array() where try type.string() != "full_attention" {
                throw type.failure(expected: "\"full_attention\"")
            }
        } else {
            let first = try files.model.optional("max_window_layers")?.integer(in: 0...Int(Int32.max)) ?? 28
            guard first >= blockCount else {
                throw flag.failure(expected: "false: attention within a sliding window is not built in")
            }
        }
    }

    package var stacks: [StackDescription] { [StackDescription(kind: .decoder, blockCount: blockCount)] }
    package var tokenEmbeddingName: String { "model.embed_tokens.weight" }
    package var optionalPrefix: String? { "model." }
    package var answersInText: Bool { true }
    package var head: HeadDescription {
        HeadDescription(
            languageModel: LanguageModelDescription(weight: isTied ? tokenEmbeddingName : "lm_head.weight"),
            classifier: ClassifierDescription(token: .last, hidden: nil, output: "score", hasBias: false))
    }

    package func reduced(by k: Int) throws -> LlamaFamily {
        var reduced = self
        reduced.hiddenSize = try divide(hiddenSize, by: k, "hidden_size")
        reduced.headSize = 2 * (try divide(headSize / 2, by: k, "pairs of a head's dimensions"))
        reduced.feedForwardSize = try divide(feedForwardSize, by: k, "intermediate_size")
        reduced.frequencies = stride(from: 0, to: frequencies.count, by: k).map { frequencies[$0] }
        return reduced
    }

    package func finalNorm(_ stack: StackKind) -> NormDescription? { norm("model.norm") }
    package func positionTable(_ stack: StackKind) -> PositionTableDescription? { nil }
    package func rotaryFrequencies(_ stack: StackKind) -> [Float]? { frequencies }
    package func tiedNames(of name: String) -> [String] {
        isTied && name == tokenEmbeddingName ? ["lm_head.weight"] : []
    }

    package func block(_ stack: StackKind, _ index: Int) -> BlockDescription {
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
                    positions: .rotary, dropoutPlaces: dropoutPlaces)
            ],
            feedForward: FeedForwardDescription(
                inputs: [prefix + "mlp.gate_proj", prefix + "mlp.up_proj"], output: prefix + "mlp.down_proj",
                norm: norm(prefix + "post_attention_layernorm"), hasBias: hasFeedForwardBias,
                width: feedForwardSize, activation: activation, dropoutPlaces: dropoutPlaces),
            isPreNorm: true)
    }

    package func makeEmbedding(_ stack: StackKind, _ source: any ParameterSource) throws -> any EmbeddingLayer
    {
        TokenEmbedding(
            table: try source.weight(tokenEmbeddingName, [vocabularySize, hiddenSize]),
            paddingID: paddingID)
    }

    private func norm(_ name: String) -> NormDescription {
        NormDescription(name: name, kind: .rmsNorm, epsilon: epsilon, size: hiddenSize)
    }
}
