import Models
import Support
import TensorCore

/// BERT (Devlin et al. 2019): an encoder of post-norm blocks with learned positions.
package struct BertFamily: ModelFamily {
    package private(set) var hiddenSize: Int
    package let vocabularySize: Int
    package let dropout: Double
    package let dropoutPlaces: DropoutPlaces
    package let paddingID: Int32?
    private let blockCount: Int
    private let headCount: Int
    private var headSize: Int
    private var feedForwardSize: Int
    private let positionCount: Int
    private let typeCount: Int
    private let epsilon: Float
    private let activation: ActivationFunction

    /// Decodes `config.json`; absent keys have Hugging Face's class defaults.
    init(_ files: ModelConfiguration) throws {
        // All of them end in the same encoder; the heads of other tasks are not read.
        try files.requireClass([
            "BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction",
            "BertForSequenceClassification", "BertForTokenClassification", "BertForMultipleChoice",
            "BertForQuestionAnswering",
        ])
        try files.require(
            "is_decoder", false, because: "attention to what comes later is what an encoder has")
        try files.require("add_cross_attention", false, because: "an encoder stands alone")
        hiddenSize = try files.size("hidden_size", default: 768)
        vocabularySize = try files.size("vocab_size", default: 30522)
        blockCount = try files.size("num_hidden_layers", default: 12)
        headCount = try files.size("num_attention_heads", default: 12)
        feedForwardSize = try files.size("intermediate_size", default: 3072)
        positionCount = try files.size("max_position_embeddings", default: 512)
        typeCount = try files.size("type_vocab_size", default: 2)
        epsilon = Float(try files.number("layer_norm_eps", in: 0...1, default: 1e-12))
        (dropout, dropoutPlaces) = try DropoutPlaces.read(
            files.model,
            [
                ("hidden_dropout_prob", 0.1, [.embedding, .outputs]),
                ("attention_probs_dropout_prob", 0.1, .probabilities),
            ])
        activation = try files.activation("hidden_act", default: .gelu)
        paddingID = try files.paddingID(default: 0, vocabularySize: vocabularySize)
        if let type = files.model.optional("position_embedding_type"), try type.string() != "absolute" {
            throw type.failure(expected: "\"absolute\"")
        }
        guard hiddenSize % headCount == 0 else {
            throw files.failure(
                "expected num_attention_heads to divide hidden_size \(hiddenSize), found \(headCount)")
        }
        headSize = hiddenSize / headCount
    }

    package var name: String { "bert" }
    package var stacks: [StackDescription] { [StackDescription(kind: .encoder, blockCount: blockCount)] }
    package var maximumPositions: Int? { positionCount }
    package var generationTokens: GenerationTokens? { nil }
    package var answersInText: Bool { false }
    package var tokenEmbeddingName: String { "bert.embeddings.word_embeddings.weight" }
    package var optionalPrefix: String? { "bert." }
    package var head: HeadDescription {
        HeadDescription(
            languageModel: nil,
            classifier: ClassifierDescription(
                token: .first, hidden: ("bert.pooler.dense", isTrained: false), output: "classifier",
                hasBias: true))
    }

    package func reduced(by k: Int) throws -> BertFamily {
        var reduced = self
        reduced.hiddenSize = try divide(hiddenSize, by: k, "hidden size")
        reduced.headSize = try divide(headSize, by: k, "head size")
        reduced.feedForwardSize = try divide(feedForwardSize, by: k, "feed-forward size")
        return reduced
    }

    package func finalNorm(_ stack: StackKind) -> NormDescription? { nil }
    package func positionTable(_ stack: StackKind) -> PositionTableDescription? { nil }
    package func rotaryFrequencies(_ stack: StackKind) -> [Float]? { nil }
    package func tiedNames(of name: String) -> [String] { [] }

    package func block(_ stack: StackKind, _ index: Int) -> BlockDescription {
        let prefix = "bert.encoder.layer.\(index)."
        return BlockDescription(
            prefix: prefix, hiddenSize: hiddenSize,
            attentions: [
                AttentionDescription(
                    kind: .selfAttention, query: prefix + "attention.self.query",
                    key: prefix + "attention.self.key", value: prefix + "attention.self.value",
                    output: prefix + "attention.output.dense",
                    norm: norm(prefix + "attention.output.LayerNorm"),
                    hasInputBias: true, hasOutputBias: true, headCount: headCount,
                    keyValueHeadCount: headCount, headSize: headSize,
                    scale: 1 / Float(headSize).squareRoot(), isCausal: false, positions: .none,
                    dropoutPlaces: dropoutPlaces)
            ],
            feedForward: FeedForwardDescription(
                inputs: [prefix + "intermediate.dense"], output: prefix + "output.dense",
                norm: norm(prefix + "output.LayerNorm"), hasBias: true, width: feedForwardSize,
                activation: activation, dropoutPlaces: dropoutPlaces),
            isPreNorm: false)
    }

    package func makeEmbedding(_ stack: StackKind, _ source: any ParameterSource) throws -> any EmbeddingLayer
    {
        BertEmbedding(
            words: try source.weight(tokenEmbeddingName, [vocabularySize, hiddenSize]),
            types: try source.weight(
                "bert.embeddings.token_type_embeddings.weight", [typeCount, hiddenSize]),
            positions: try source.weight(
                "bert.embeddings.position_embeddings.weight", [positionCount, hiddenSize]),
            norm: try Norm(norm("bert.embeddings.LayerNorm"), source), paddingID: paddingID)
    }

    private func norm(_ name: String) -> NormDescription {
        NormDescription(name: name, kind: .layerNorm, epsilon: epsilon, size: hiddenSize)
    }
}

/// LN(word + type + position).
private struct BertEmbedding: EmbeddingLayer {
    let words: Weight
    let types: Weight
    let positions: Weight
    let norm: Norm
    let paddingID: Int32?

    func callAsFunction(_ tokens: TokenRows) -> Tensor {
        norm(
            embedding(
                [(words, tokens.ids), (types, tokens.typeIDs), (positions, tokens.positions)],
                paddingID: paddingID))
    }
}
