import Support
import TensorCore

/// One side of a model: its encoder or its decoder.
public enum StackKind: String, Sendable, CaseIterable { case encoder, decoder }

/// A stack and how many blocks it has.
public struct StackDescription: Sendable, Equatable {
    public let kind: StackKind
    public let blockCount: Int
}

/// What a model family is: sizes from `config.json`, names of tensors, and the description of every part. All families
/// are run by the same layers; a family's file holds no arithmetic but its embedding and its positions.
public protocol ModelFamily: Sendable {
    /// "bert", "t5", "bart", "llama", "qwen2".
    var name: String { get }
    var hiddenSize: Int { get }
    var vocabularySize: Int { get }
    /// In the order in which they run.
    var stacks: [StackDescription] { get }
    /// The dropout probability that the configuration names.
    var dropout: Double { get }
    /// Where the family drops elements while it trains.
    var dropoutPlaces: DropoutPlaces { get }
    /// How a decoder begins and ends a text; nil for encoder models.
    var generationTokens: GenerationTokens? { get }
    /// The longest input that the position embeddings allow, or were trained for; nil when there is no limit.
    var maximumPositions: Int? { get }
    /// Blocks of a stack, described: their tensors' names, shapes and arithmetic.
    func block(_ stack: StackKind, _ index: Int) -> BlockDescription
    /// The norm after a stack's last block; nil when the family has none.
    func finalNorm(_ stack: StackKind) -> NormDescription?
    /// The learned relative-position table of a stack; nil when the family has none.
    func positionTable(_ stack: StackKind) -> PositionTableDescription?
    /// The frequencies of a stack's rotary positions, one for each pair of a head's dimensions; nil when the family has
    /// none. Reduced by k, every k-th of them.
    func rotaryFrequencies(_ stack: StackKind) -> [Float]?
    /// The token whose row of the embedding the lookup never trains; nil when there is none.
    var paddingID: Int32? { get }
    /// Whether the family answers every task in text. Others have a classifier for classes and scores.
    var answersInText: Bool { get }
    /// The token embedding, whose columns rank the residual channels for pruning.
    var tokenEmbeddingName: String { get }
    /// Builds what a stack starts from.
    func makeEmbedding(_ stack: StackKind, _ source: any ParameterSource) throws -> any EmbeddingLayer
    /// What stands between the last hidden state and a task.
    var head: HeadDescription { get }
    /// The same family with hidden size, head size and feed-forward width divided by k; heads stay.
    ///
    /// - Throws: when k does not divide a size, naming the size.
    func reduced(by k: Int) throws -> Self
    /// Other names under which a tied tensor may be stored.
    func tiedNames(of name: String) -> [String]
    /// A prefix that published files may lack ("bert.").
    var optionalPrefix: String? { get }
    /// Tensors that published files may lack altogether, and are zero then.
    var zeroWhenAbsent: Set<String> { get }
}

/// The start of a stack: token ids in, b_0 out.
public protocol EmbeddingLayer {
    /// - Shapes: ids [n]; result [n, d].
    func callAsFunction(_ tokens: TokenRows) -> Tensor
}

/// Packed token rows: what an embedding needs of a batch.
public struct TokenRows: Sendable {
    public let ids: [Int32]
    public let typeIDs: [Int32]
    /// Position of each token in its sequence.
    public let positions: [Int32]
}

/// What the last stage needs to turn hidden states into predictions.
public struct HeadDescription: Sendable {
    /// nil for encoder models.
    public let languageModel: LanguageModelDescription?
    public let classifier: ClassifierDescription
}

/// A frozen language-model head: (z · inputScale) Wᵀ + b.
public struct LanguageModelDescription: Sendable {
    /// The matrix [vocabulary, d].
    public let weight: String
    public let inputScale: Float
    /// A bias [1, vocabulary]; nil when the family has none.
    public let bias: String?

    init(weight: String, inputScale: Float = 1, bias: String? = nil) {
        self.weight = weight
        self.inputScale = inputScale
        self.bias = bias
    }
}

/// A classifier on one token of the last stack: output(tanh(hidden z)), or output(z). The output is always trained.
public struct ClassifierDescription: Sendable {
    /// Which token it reads. Under an encoder-decoder model the decoder's row of that place.
    public enum Token: Sendable {
        case first
        case last
        /// The last of this id among the input's tokens.
        case lastOccurrence(of: Int32)
    }
    public let token: Token
    /// A matrix [d, d] under a tanh: a frozen pooler, or a part of the classifier that is trained with it.
    public let hidden: (name: String, isTrained: Bool)?
    public let output: String
    public let hasBias: Bool
}

/// A step of the forward pass. A planner layer is one step or, where a decoder begins, two.
public enum LayerStep: Sendable, Hashable {
    case embedding(StackKind)
    case block(StackKind, Int)
    case head
}

/// A layer as the planner counts them: the embedding, every block, the head.
public struct PlannerLayer: Sendable {
    public enum Kind: String, Sendable { case embedding, encoder, decoder, head }
    public let name: String
    public let kind: Kind
    public let steps: [LayerStep]
}

extension ModelFamily {
    /// The planner's layers in order; token lookup for a decoder belongs to its first block's layer.
    public var plannerLayers: [PlannerLayer] {
        let first = stacks[0].kind
        var layers = [PlannerLayer(name: "embedding", kind: .embedding, steps: [.embedding(first)])]
        for stack in stacks {
            for index in 0..<stack.blockCount {
                let entry: [LayerStep] = index == 0 && stack.kind != first ? [.embedding(stack.kind)] : []
                layers.append(
                    PlannerLayer(
                        name: "\(stack.kind.rawValue) \(index)",
                        kind: stack.kind == .encoder ? .encoder : .decoder,
                        steps: entry + [.block(stack.kind, index)]))
            }
        }
        layers.append(PlannerLayer(name: "head", kind: .head, steps: [.head]))
        return layers
    }

    /// The steps of a range of planner layers.
    public func steps(of layers: Range<Int>) -> [LayerStep] { plannerLayers[layers].flatMap(\.steps) }

    public var zeroWhenAbsent: Set<String> { [] }

    /// Whether a tensor belongs to the classifier's trained layers, which a checkpoint need not have.
    public func isClassifier(_ tensorName: String) -> Bool {
        let classifier = head.classifier
        var layers = [classifier.output]
        if let hidden = classifier.hidden, hidden.isTrained { layers.append(hidden.name) }
        return layers.contains { tensorName == $0 + ".weight" || tensorName == $0 + ".bias" }
    }

    /// Whether the model drops elements of what its embedding gives.
    public var dropsEmbedding: Bool { dropoutPlaces.contains(.embedding) }

    /// Whether the model drops elements of what its final norm gives.
    public var dropsFinalNorm: Bool { dropoutPlaces.contains(.finalNorm) }

    public var lastStack: StackDescription { stacks[stacks.count - 1] }

    public func blockCount(_ stack: StackKind) -> Int { stacks.first { $0.kind == stack }?.blockCount ?? 0 }
}

/// Reads the family of a model directory: its `config.json` and, where there is one, its `generation_config.json`.
///
/// - Throws: when the files ask for a model that this build does not run, naming file and key.
public func readModelFamily(directory: String) throws -> any ModelFamily {
    let generation = directory + "/generation_config.json"
    return try readModelFamily(
        Checkpoint.readConfiguration(directory),
        generation: fileExists(generation)
            ? JSONReader(contentsOf: generation) : nil)
}

/// Reads a family from the contents of the files.
public func readModelFamily(_ configuration: JSONReader, generation: JSONReader? = nil) throws
    -> any ModelFamily
{
    let files = try ModelConfiguration(configuration, generation: generation)
    let type = try files.model.required("model_type")
    switch try type.string() {
    case "bert": return try BertFamily(files)
    case "t5": return try T5Family(files)
    case "bart": return try BartFamily(files)
    case "llama", "qwen2": return try LlamaFamily(files)
    default: throw type.failure(expected: "one of \"bert\", \"t5\", \"bart\", \"llama\", \"qwen2\"")
    }
}
