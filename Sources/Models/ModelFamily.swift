import Support
import TensorCore

/// One side of a model: its encoder or its decoder.
package enum StackKind: String, Sendable, CaseIterable { case encoder, decoder }

/// A stack and how many blocks it has.
package struct StackDescription: Sendable, Equatable {
    package let kind: StackKind
    package let blockCount: Int

    package init(kind: StackKind, blockCount: Int) {
        self.kind = kind
        self.blockCount = blockCount
    }
}

/// What a model family is: sizes from `config.json`, names of tensors, and the description of every part. All families
/// are run by the same layers; a family's file holds no arithmetic but its embedding and its positions.
package protocol ModelFamily: Sendable {
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
package protocol EmbeddingLayer {
    /// - Shapes: ids [n]; result [n, d].
    func callAsFunction(_ tokens: TokenRows) -> Tensor
}

/// Packed token rows: what an embedding needs of a batch.
package struct TokenRows: Sendable {
    package let ids: [Int32]
    package let typeIDs: [Int32]
    /// Position of each token in its sequence.
    package let positions: [Int32]
}

/// What the last stage needs to turn hidden states into predictions.
package struct HeadDescription: Sendable {
    /// nil for encoder models.
    package let languageModel: LanguageModelDescription?
    package let classifier: ClassifierDescription

    package init(languageModel: LanguageModelDescription?, classifier: ClassifierDescription) {
        self.languageModel = languageModel
        self.classifier = classifier
    }
}

/// A frozen language-model head: (z · inputScale) Wᵀ + b.
package struct LanguageModelDescription: Sendable {
    /// The matrix [vocabulary, d].
    package let weight: String
    package let inputScale: Float
    /// A bias [1, vocabulary]; nil when the family has none.
    package let bias: String?

    package init(weight: String, inputScale: Float = 1, bias: String? = nil) {
        self.weight = weight
        self.inputScale = inputScale
        self.bias = bias
    }
}

/// A classifier on one token of the last stack: output(tanh(hidden z)), or output(z). The output is always trained.
package struct ClassifierDescription: Sendable {
    /// Which token it reads. Under an encoder-decoder model the decoder's row of that place.
    package enum Token: Sendable {
        case first
        case last
        /// The last of this id among the input's tokens.
        case lastOccurrence(of: Int32)
    }
    package let token: Token
    /// A matrix [d, d] under a tanh: a frozen pooler, or a part of the classifier that is trained with it.
    package let hidden: (name: String, isTrained: Bool)?
    package let output: String
    package let hasBias: Bool

    package init(token: Token, hidden: (name: String, isTrained: Bool)?, output: String, hasBias: Bool) {
        self.token = token
        self.hidden = hidden
        self.output = output
        self.hasBias = hasBias
    }
}

/// A step of the forward pass. A planner layer is one step or, where a decoder begins, two.
package enum LayerStep: Sendable, Hashable {
    case embedding(StackKind)
    case block(StackKind, Int)
    case head
}

/// A layer as the planner counts them: the embedding, every block, the head.
package struct PlannerLayer: Sendable {
    package enum Kind: String, Sendable { case embedding, encoder, decoder, head }
    package let name: String
    package let kind: Kind
    package let steps: [LayerStep]
}

extension ModelFamily {
    /// The planner's layers in order; token lookup for a decoder belongs to its first block's layer.
    package var plannerLayers: [PlannerLayer] {
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
    package func steps(of layers: Range<Int>) -> [LayerStep] { plannerLayers[layers].flatMap(\.steps) }

    package var zeroWhenAbsent: Set<String> { [] }

    /// Whether a tensor belongs to the classifier's trained layers, which a checkpoint need not have.
    package func isClassifier(_ tensorName: String) -> Bool {
        let classifier = head.classifier
        var layers = [classifier.output]
        if let hidden = classifier.hidden, hidden.isTrained { layers.append(hidden.name) }
        return layers.contains { tensorName == $0 + ".weight" || tensorName == $0 + ".bias" }
    }

    /// Whether the model drops elements of what its embedding gives.
    package var dropsEmbedding: Bool { dropoutPlaces.contains(.embedding) }

    /// Whether the model drops elements of what its final norm gives.
    package var dropsFinalNorm: Bool { dropoutPlaces.contains(.finalNorm) }

    package var lastStack: StackDescription { stacks[stacks.count - 1] }

    package func blockCount(_ stack: StackKind) -> Int { stacks.first { $0.kind == stack }?.blockCount ?? 0 }
}

/// Divides a size by the reduction factor, or says which size it does not divide.
package func divide(_ size: Int, by k: Int, _ name: String) throws -> Int {
    guard k >= 1, size % k == 0 else {
        throw Failure.configuration(
            "technique.reduction_factor: expected a divisor of the model's \(name), which is \(size), found \(k)"
        )
    }
    return size / k
}
