import Models
import Support
import TensorCore

/// T5 v1.0 and v1.1 (Raffel et al. 2020): encoder and decoder of pre-norm blocks with relative positions, no biases.
package struct T5Family: ModelFamily {
    package private(set) var hiddenSize: Int
    package let vocabularySize: Int
    package let dropout: Double
    package let dropoutPlaces: DropoutPlaces
    package let generationTokens: GenerationTokens?
    private let encoderBlockCount: Int
    private let decoderBlockCount: Int
    private let headCount: Int
    private var headSize: Int
    private var feedForwardSize: Int
    private let bucketCount: Int
    private let maximumDistance: Int
    private let epsilon: Float
    private let activation: ActivationFunction
    private let isGated: Bool
    private let isTied: Bool

    /// Decodes `config.json`; absent keys have Hugging Face's class defaults (published v1.0 files lack several).
    init(_ files: ModelConfiguration) throws {
        try files.requireClass(["T5ForConditionalGeneration", "T5WithLMHeadModel", "T5Model"])
        try files.require("is_encoder_decoder", true, because: "an encoder alone writes no text")
        hiddenSize = try files.size("d_model", default: 512)
        vocabularySize = try files.size("vocab_size", default: 32128)
        encoderBlockCount = try files.size("num_layers", default: 6)
        decoderBlockCount = try files.size("num_decoder_layers", default: encoderBlockCount)
        headCount = try files.size("num_heads", default: 8)
        headSize = try files.size("d_kv", default: 64)
        feedForwardSize = try files.size("d_ff", default: 2048)
        bucketCount = try files.size("relative_attention_num_buckets", default: 32)
        maximumDistance = try files.size("relative_attention_max_distance", default: 128)
        generationTokens = try GenerationTokens(
            files, start: files.tokens("pad_token_id", default: [0]).first ?? 0, ends: [1])
        epsilon = Float(try files.number("layer_norm_epsilon", in: 0...1, default: 1e-6))
        (dropout, dropoutPlaces) = try DropoutPlaces.read(
            files.model,
            [("dropout_rate", 0.1, [.embedding, .probabilities, .activations, .outputs, .finalNorm])])
        // Transformers 5 calls every T5 tied and says of v1.1 that the head's input is not scaled.
        isTied = try files.flag(
            "scale_decoder_outputs", default: files.flag("tie_word_embeddings", default: true))
        let projection = files.model.optional("feed_forward_proj")
        let functions = ModelConfiguration.activations.map(\.name)
        let name = try projection?.choice(functions + functions.map { "gated-" + $0 }) ?? "relu"
        isGated = name.hasPrefix("gated-")
        activation  // Hugging Face reads this one as gelu_new, as T5 v1.1 was trained.
        =
            name == "gated-gelu"
            ? .geluTanh : ModelConfiguration.activation(isGated ? String(name.dropFirst(6)) : name)
    }

    package var name: String { "t5" }
    package var stacks: [StackDescription] {
        [
            StackDescription(kind: .encoder, blockCount: encoderBlockCount),
            StackDescription(kind: .decoder, blockCount: decoderBlockCount),
        ]
    }
    package var maximumPositions: Int? { nil }
    /// Row 0 is padding and also what the decoder reads first, so that its lookup is trained.
    package var paddingID: Int32? { nil }
    package var answersInText: Bool { true }
    package var tokenEmbeddingName: String { "shared.weight" }
    package var optionalPrefix: String? { nil }

    /// Tied (v1.0): the embedding serves as the head's matrix and its input is scaled by d^-½.
    package var head: HeadDescription {
        HeadDescription(
            languageModel: isTied
                ? LanguageModelDescription(
                    weight: tokenEmbeddingName, inputScale: 1 / Float(hiddenSize).squareRoot())
                : LanguageModelDescription(weight: "lm_head.weight"),
            classifier: ClassifierDescription(token: .first, hidden: nil, output: "classifier", hasBias: true)
        )
    }

    package func reduced(by k: Int) throws -> T5Family {
        var reduced = self
        reduced.hiddenSize = try divide(hiddenSize, by: k, "d_model")
        reduced.headSize = try divide(headSize, by: k, "d_kv")
        reduced.feedForwardSize = try divide(feedForwardSize, by: k, "d_ff")
        return reduced
    }

    package func finalNorm(_ stack: StackKind) -> NormDescription? {
        norm("\(stack.rawValue).final_layer_norm")
    }

    package func positionTable(_ stack: StackKind) -> PositionTableDescription? {
        PositionTableDescription(
            name: "\(stack.rawValue).block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            bucketCount: bucketCount, headCount: headCount,
            buckets: RelativeBuckets(
                count: bucketCount, maximumDistance: maximumDistance, isBidirectional: stack == .encoder))
    }

    package func rotaryFrequencies(_ stack: StackKind) -> [Float]? { nil }

    package func tiedNames(of name: String) -> [String] {
        guard name == tokenEmbeddingName else { return [] }
        return ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
            + (isTied ? ["lm_head.weight"] : [])
    }

    package func block(_ stack: StackKind, _ index: Int) -> BlockDescription {
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
                positions: kind == .selfAttention ? .distanceTable : .none, dropoutPlaces: dropoutPlaces)
        }
        let crosses = stack == .decoder ? [attention(.crossAttention, "EncDecAttention", 1)] : []
        let last = prefix + "layer.\(stack == .decoder ? 2 : 1)."
        return BlockDescription(
            prefix: prefix, hiddenSize: hiddenSize,
            attentions: [attention(.selfAttention, "SelfAttention", 0)] + crosses,
            feedForward: FeedForwardDescription(
                inputs: (isGated ? ["wi_0", "wi_1"] : ["wi"]).map { last + "DenseReluDense." + $0 },
                output: last + "DenseReluDense.wo", norm: norm(last + "layer_norm"), hasBias: false,
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
