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
    /// "bert", "t5".
    var name: String { get }
    var hiddenSize: Int { get }
    var vocabularySize: Int { get }
    /// In the order in which they run.
    var stacks: [StackDescription] { get }
    /// The dropout probability that the configuration names.
    var dropout: Double { get }
    /// How a decoder begins and ends a text; nil for encoder models.
    var generationTokens: GenerationTokens? { get }
    /// The longest input that the position embeddings allow; nil when there is no limit.
    var maximumPositions: Int? { get }
    /// Blocks of a stack, described: their tensors' names, shapes and arithmetic.
    func block(_ stack: StackKind, _ index: Int) -> BlockDescription
    /// The norm after a stack's last block; nil when the family has none.
    func finalNorm(_ stack: StackKind) -> NormDescription?
    /// The learned relative-position table of a stack; nil when the family has none.
    func positionTable(_ stack: StackKind) -> PositionTableDescription?
    /// The token embedding, whose columns rank the residual channels for pruning.
    var tokenEmbeddingName: String { get }
    /// Builds what a stack starts from.
    func makeEmbedding(_ stack: StackKind, _ source: any ParameterSource) throws -> any EmbeddingLayer
    /// What stands between the last hidden state and a task: a language model's matrix, or a pooler.
    var head: HeadDescription { get }
    /// The same family with hidden size, head size and feed-forward width divided by k; heads stay.
    ///
    /// - Throws: when k does not divide a size, naming the size.
    func reduced(by k: Int) throws -> Self
    /// Other names under which a tied tensor may be stored.
    func tiedNames(of name: String) -> [String]
    /// A prefix that published files may lack ("bert.").
    var optionalPrefix: String? { get }
}

/// The tokens between which a decoder writes.
public struct GenerationTokens: Sendable, Equatable {
    public let start: Int32
    public let end: Int32
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
    /// A frozen language-model matrix [vocabulary, d] and the factor on its input; nil for encoder models.
    public let languageModel: (name: String, inputScale: Float)?
    /// A frozen pooler [d, d] with tanh, for classification from the first token; nil when the family has none.
    public let poolerName: String?
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

    public var lastStack: StackDescription { stacks[stacks.count - 1] }

    public func blockCount(_ stack: StackKind) -> Int { stacks.first { $0.kind == stack }?.blockCount ?? 0 }
}

/// Reads the family of a model directory's `config.json`.
///
/// - Throws: when `model_type` is one that this build does not know.
public func readModelFamily(_ configuration: JSONReader) throws -> any ModelFamily {
    let object = try configuration.object()
    let type = try object.required("model_type")
    switch try type.string() {
    case "bert": return try BertFamily(object)
    case "t5": return try T5Family(object)
    default: throw type.failure(expected: "one of \"bert\", \"t5\"")
    }
}

/// Divides a size by the reduction factor, or says which size it does not divide.
func divide(_ size: Int, by k: Int, _ name: String) throws -> Int {
    guard k >= 1, size % k == 0 else {
        throw Failure.configuration(
            "technique.reduction_factor: expected a divisor of the model's \(name), which is \(size), found \(k)"
        )
    }
    return size / k
}
