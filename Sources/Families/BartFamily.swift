import Models
import Support
import TensorCore

/// BART (Lewis et al. 2019): encoder and decoder of post-norm blocks with learned positions, for classification and for
/// writing text.
package struct BartFamily: ModelFamily {
    package private(set) var hiddenSize: Int
    package let vocabularySize: Int
    package let dropout: Double
    package let dropoutPlaces: DropoutPlaces
    package let paddingID: Int32?
    package let generationTokens: GenerationTokens?
    private var encoder: Stack
    private var decoder: Stack
    private let positionCount: Int
    private let activation: ActivationFunction
    private let scalesEmbedding: Bool
    private let isTied: Bool
    private let endID: Int32

    /// What encoder and decoder do not share.
    private struct Stack {
        let blockCount: Int
        let headCount: Int
        var headSize: Int
        var feedForwardSize: Int
    }

    /// Hugging Face's position tables have two rows before that of position 0.
    private static let positionOffset = 2

    /// Decodes `config.json`; absent keys have Hugging Face's class defaults.
    init(_ files: ModelConfiguration) throws {
        try files.requireClass([
            "BartForConditionalGeneration", "BartForSequenceClassification", "BartModel",
            "PretrainedBartModel",
            "BartForQuestionAnswering",
        ])
        try files.require(
            "is_encoder_decoder", true, because: "a decoder without its encoder is not built in")
        for (key, supported) in [
            ("normalize_before", false), ("add_final_layer_norm", false),
            ("static_position_embeddings", false), ("normalize_embedding", true),
        ] {
            try files.require(key, supported, because: "as in every published BART")
        }
        let d = try files.size("d_model", default: 1024)
        func stack(_ name: String) throws -> Stack {
            let heads = try files.size("\(name)_attention_heads", default: 16)
            guard d % heads == 0 else {
                throw files.failure("expected \(name)_attention_heads to divide d_model \(d), found \(heads)")
            }
            return Stack(
                blockCount: try files.size("\(name)_layers", default: 12), headCount: heads,
                headSize: d / heads, feedForwardSize: try files.size("\(name)_ffn_dim", default: 4096))
        }
        hiddenSize = d
        (encoder, decoder) = (try stack("encoder"), try stack("decoder"))
        vocabularySize = try files.size("vocab_size", default: 50_265)
        positionCount = try files.size("max_position_embeddings", default: 1024)
        (dropout, dropoutPlaces) = try DropoutPlaces.read(
            files.model,
            [
                ("dropout", 0.1, [.embedding, .outputs]), ("attention_dropout", 0, .probabilities),
                ("activation_dropout", 0, .activations),
            ])
        activation = try files.activation("activation_function", default: .gelu)
        scalesEmbedding = try files.flag("scale_embedding")
        isTied = try files.flag("tie_word_embeddings", default: true)
        paddingID = try files.paddingID(default: 1, vocabularySize: vocabularySize)
        generationTokens = try GenerationTokens(files, start: 2, ends: [2])
        endID =
            try files.model.optional("eos_token_id").map { Int32(try $0.integer(in: 0...Int(Int32.max))) }
            ?? 2
    }

    package var name: String { "bart" }
    package var stacks: [StackDescription] {
        [
            StackDescription(kind: .encoder, blockCount: encoder.blockCount),
            StackDescription(kind: .decoder, blockCount: decoder.blockCount),
        ]
    }
    package var maximumPositions: Int? { positionCount }
    package var answersInText: Bool { false }
    package var tokenEmbeddingName: String { "model.shared.weight" }
    package var optionalPrefix: String? { "model." }
    package var zeroWhenAbsent: Set<String> { [Self.logitsBias] }
    private static var logitsBias: String { "final_logits_bias" }

    package var head: HeadDescription {
        HeadDescription(
            languageModel: LanguageModelDescription(
                weight: isTied ? tokenEmbeddingName : "lm_head.weight", bias: Self.logitsBias),
            classifier: ClassifierDescription(
                token: .lastOccurrence(of: endID), hidden: ("classification_head.dense", isTrained: true),
                output: "classification_head.out_proj", hasBias: true))
    }

    package func reduced(by k: Int) throws -> BartFamily {
        func reduce(_ stack: inout Stack, _ name: String) throws {
            stack.headSize = try divide(stack.headSize, by: k, "\(name) head size")
            stack.feedForwardSize = try divide(stack.feedForwardSize, by: k, "\(name)_ffn_dim")
        }
        var reduced = self
        reduced.hiddenSize = try divide(hiddenSize, by: k, "d_model")
        try reduce(&reduced.encoder, "encoder")
        try reduce(&reduced.decoder, "decoder")
        return reduced
    }

    package func finalNorm(_ stack: StackKind) -> NormDescription? { nil }
    package func positionTable(_ stack: StackKind) -> PositionTableDescription? { nil }
    package func rotaryFrequencies(_ stack: StackKind) -> [Float]? { nil }
    package func tiedNames(of name: String) -> [String] {
        guard name == tokenEmbeddingName else { return [] }
        return ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"]
            + (isTied ? ["lm_head.weight"] : [])
    }

    package func block(_ stack: StackKind, _ index: Int) -> BlockDescription {
        let sizes = stack == .encoder ? encoder : decoder
        let prefix = "model.\(stack.rawValue).layers.\(index)."
        func attention(_ kind: AttentionDescription.Kind, _ place: String) -> AttentionDescription {
            let names = prefix + place + "."
            return AttentionDescription(
                kind: kind, query: names + "q_proj", key: names + "k_proj", value: names + "v_proj",
                output: names + "out_proj", norm: norm(prefix + place + "_layer_norm"), hasInputBias: true,
                hasOutputBias: true, headCount: sizes.headCount, keyValueHeadCount: sizes.headCount,
                headSize: sizes.headSize, scale: 1 / Float(sizes.headSize).squareRoot(),
                isCausal: kind == .selfAttention && stack == .decoder, positions: .none,
                dropoutPlaces: dropoutPlaces)
        }
        let crosses = stack == .decoder ? [attention(.crossAttention, "encoder_attn")] : []
        return BlockDescription(
            prefix: prefix, hiddenSize: hiddenSize,
            attentions: [attention(.selfAttention, "self_attn")] + crosses,
            feedForward: FeedForwardDescription(
                inputs: [prefix + "fc1"], output: prefix + "fc2", norm: norm(prefix + "final_layer_norm"),
                hasBias: true, width: sizes.feedForwardSize, activation: activation,
                dropoutPlaces: dropoutPlaces),
            isPreNorm: false)
    }

    package func makeEmbedding(_ stack: StackKind, _ source: any ParameterSource) throws -> any EmbeddingLayer
    {
        let prefix = "model.\(stack.rawValue)."
        return BartEmbedding(
            shared: try source.weight(tokenEmbeddingName, [vocabularySize, hiddenSize]),
            positions: try source.weight(
                prefix + "embed_positions.weight", [positionCount + Self.positionOffset, hiddenSize]),
            norm: try Norm(norm(prefix + "layernorm_embedding"), source),
            paddingID: paddingID, scale: scalesEmbedding ? Float(hiddenSize).squareRoot() : 1,
            positionOffset: Int32(Self.positionOffset))
    }

    private func norm(_ name: String) -> NormDescription {
        NormDescription(name: name, kind: .layerNorm, epsilon: 1e-5, size: hiddenSize)
    }
}

/// LN(s · token + position).
private struct BartEmbedding: EmbeddingLayer {
    let shared: Weight
    let positions: Weight
    let norm: Norm
    let paddingID: Int32?
    let scale: Float
    let positionOffset: Int32

    func callAsFunction(_ tokens: TokenRows) -> Tensor {
        let words = embedding([(shared, tokens.ids)], paddingID: paddingID)
        let places = embedding([(positions, tokens.positions.map { $0 + positionOffset })])
        return norm(scale == 1 ? words : TensorCore.scale(words, by: scale), adding: places)
    }
}
