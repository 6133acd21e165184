import Support
import TensorCore

/// BART (Lewis et al. 2019): encoder and decoder of post-norm blocks with learned positions, for classification and for
/// writing text.
public struct BartFamily: ModelFamily {
    public let hiddenSize: Int
    public let vocabularySize: Int
    public let dropout: Double
    public let generationTokens: GenerationTokens?
    private let encoder: Stack
    private let decoder: Stack
    private let positionCount: Int
    private let activation: ActivationFunction
    private let hasInnerDropout: Bool
    private let scalesEmbedding: Bool
    private let isTied: Bool
    private let endID: Int32

    /// What encoder and decoder do not share.
    private struct Stack {
        let blockCount: Int
        let headCount: Int
        let headSize: Int
        let feedForwardSize: Int
    }

    /// Hugging Face's position tables have two rows before that of position 0.
    private static let positionOffset = 2

    /// Decodes `config.json`; absent keys have Hugging Face's class defaults.
    init(_ configuration: JSONObjectReader) throws {
        func integer(_ key: String, _ fallback: Int, from low: Int = 1) throws -> Int {
            try configuration.optional(key)?.integer(in: low...Int(Int32.max)) ?? fallback
        }
        let d = try integer("d_model", 1024)
        func stack(_ name: String) throws -> Stack {
            let heads = try integer("\(name)_attention_heads", 16)
            guard d % heads == 0 else {
                throw Failure.configuration(
                    "\(configuration.reader.file): expected \(name)_attention_heads to divide d_model \(d), "
                        + "found \(heads)")
            }
            return Stack(
                blockCount: try integer("\(name)_layers", 12), headCount: heads, headSize: d / heads,
                feedForwardSize: try integer("\(name)_ffn_dim", 4096))
        }
        hiddenSize = d
        (encoder, decoder) = (try stack("encoder"), try stack("decoder"))
        vocabularySize = try integer("vocab_size", 50_265)
        positionCount = try integer("max_position_embeddings", 1024)
        dropout = try configuration.optional("dropout")?.number(in: 0...0.99) ?? 0.1
        hasInnerDropout = try configuration.optional("activation_dropout")?.number(in: 0...0.99) ?? 0 > 0
        activation = try ActivationFunction(configuration.optional("activation_function"), default: .gelu)
        scalesEmbedding = try configuration.optional("scale_embedding")?.bool() ?? false
        isTied = try configuration.optional("tie_word_embeddings")?.bool() ?? true
        let ends = try readTokens(configuration, "eos_token_id")
        endID = ends.first ?? 2
        generationTokens = GenerationTokens(
            start: Int32(try integer("decoder_start_token_id", 2, from: 0)), ends: ends.isEmpty ? [2] : ends)
        for (key, supported) in [
            ("normalize_before", false), ("add_final_layer_norm", false),
            ("static_position_embeddings", false), ("normalize_embedding", true),
        ] {
            if let flag = configuration.optional(key), try flag.bool() != supported {
                throw flag.failure(expected: "\(supported), as in every published BART")
            }
        }
    }

    private init(_ full: BartFamily, reducedBy k: Int) throws {
        func reduce(_ stack: Stack, _ name: String) throws -> Stack {
            Stack(
                blockCount: stack.blockCount, headCount: stack.headCount,
                headSize: try divide(stack.headSize, by: k, "\(name) head size"),
                feedForwardSize: try divide(stack.feedForwardSize, by: k, "\(name)_ffn_dim"))
        }
        hiddenSize = try divide(full.hiddenSize, by: k, "d_model")
        (encoder, decoder) = (try reduce(full.encoder, "encoder"), try reduce(full.decoder, "decoder"))
        (vocabularySize, dropout, positionCount) = (full.vocabularySize, full.dropout, full.positionCount)
        (generationTokens, endID) = (full.generationTokens, full.endID)
        (activation, hasInnerDropout) = (full.activation, full.hasInnerDropout)
        (scalesEmbedding, isTied) = (full.scalesEmbedding, full.isTied)
    }

    public var name: String { "bart" }
    public var stacks: [StackDescription] {
        [
            StackDescription(kind: .encoder, blockCount: encoder.blockCount),
            StackDescription(kind: .decoder, blockCount: decoder.blockCount),
        ]
    }
    public var maximumPositions: Int? { positionCount }
    public var dropsEmbedding: Bool { true }
    public var dropsFinalNorm: Bool { false }
    public var tokenEmbeddingName: String { "model.shared.weight" }
    public var optionalPrefix: String? { "model." }
    public var zeroWhenAbsent: Set<String> { [Self.logitsBias] }
    private static var logitsBias: String { "final_logits_bias" }

    public var head: HeadDescription {
        HeadDescription(
            languageModel: LanguageModelDescription(
                weight: isTied ? tokenEmbeddingName : "lm_head.weight", bias: Self.logitsBias),
            classifier: ClassifierDescription(
                token: .lastOccurrence(of: endID), hidden: ("classification_head.dense", isTrained: true),
                output: "classification_head.out_proj", hasBias: true))
    }

    public func reduced(by k: Int) throws -> BartFamily { try BartFamily(self, reducedBy: k) }
    public func finalNorm(_ stack: StackKind) -> NormDescription? { nil }
    public func positionTable(_ stack: StackKind) -> PositionTableDescription? { nil }
    public func rotaryFrequencies(_ stack: StackKind) -> [Float]? { nil }
    public func tiedNames(of name: String) -> [String] {
        guard name == tokenEmbeddingName else { return [] }
        return ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"]
            + (isTied ? ["lm_head.weight"] : [])
    }

    public func block(_ stack: StackKind, _ index: Int) -> BlockDescription {
        let sizes = stack == .encoder ? encoder : decoder
        let prefix = "model.\(stack.rawValue).layers.\(index)."
        func attention(_ kind: AttentionDescription.Kind, _ place: String) -> AttentionDescription {
            let names = prefix + place + "."
            return AttentionDescription(
                kind: kind, query: names + "q_proj", key: names + "k_proj", value: names + "v_proj",
                output: names + "out_proj", norm: norm(prefix + place + "_layer_norm"), hasInputBias: true,
                hasOutputBias: true, headCount: sizes.headCount, keyValueHeadCount: sizes.headCount,
                headSize: sizes.headSize, scale: 1 / Float(sizes.headSize).squareRoot(),
                isCausal: kind == .selfAttention && stack == .decoder, positions: .none)
        }
        let crosses = stack == .decoder ? [attention(.crossAttention, "encoder_attn")] : []
        return BlockDescription(
            prefix: prefix, hiddenSize: hiddenSize,
            attentions: [attention(.selfAttention, "self_attn")] + crosses,
            feedForward: FeedForwardDescription(
                inputs: [prefix + "fc1"], output: prefix + "fc2", norm: norm(prefix + "final_layer_norm"),
                hasBias: true, width: sizes.feedForwardSize, activation: activation,
                hasInnerDropout: hasInnerDropout),
            isPreNorm: false)
    }

    public func makeEmbedding(_ stack: StackKind, _ source: any ParameterSource) throws -> any EmbeddingLayer
    {
        let prefix = "model.\(stack.rawValue)."
        return BartEmbedding(
            shared: try source.parameter(tokenEmbeddingName, [vocabularySize, hiddenSize]),
            positions: try source.parameter(
                prefix + "embed_positions.weight", [positionCount + Self.positionOffset, hiddenSize]),
            norm: try Norm(norm(prefix + "layernorm_embedding"), source),
            scale: scalesEmbedding ? Float(hiddenSize).squareRoot() : 1,
            positionOffset: Int32(Self.positionOffset))
    }

    private func norm(_ name: String) -> NormDescription {
        NormDescription(name: name, kind: .layerNorm, epsilon: 1e-5, size: hiddenSize)
    }
}

/// LN(s · token + position).
private struct BartEmbedding: EmbeddingLayer {
    let shared: Tensor
    let positions: Tensor
    let norm: Norm
    let scale: Float
    let positionOffset: Int32

    func callAsFunction(_ tokens: TokenRows) -> Tensor {
        let words = embedding([(shared, tokens.ids)])
        let places = embedding([(positions, tokens.positions.map { $0 + positionOffset })])
        return norm(scale == 1 ? words : TensorCore.scale(words, by: scale), adding: places)
    }
}
