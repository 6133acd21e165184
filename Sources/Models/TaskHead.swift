import Support
import TensorCore

/// What the last stage predicts.
public enum HeadKind: Sendable, Equatable {
    case languageModel
    case classification(Int)
    case regression
}

/// Which tokens of an encoder model reach a classifier.
public enum Pooling: String, Sendable, CaseIterable {
    /// The first token, through the checkpoint's frozen pooler.
    case cls
    /// The mean of the real tokens, without a pooler.
    case mean
}

/// The end of the model: selection of rows, frozen final norm, frozen head matrix or pooler, trained classifier, loss.
///
/// It needs few of the backbone's tensors, so that it lives on when the backbone is released: `frozenTensors`.
public final class TaskHead {
    private let family: any ModelFamily
    private let kind: HeadKind
    private let pooling: Pooling
    private let finalNorm: Norm?
    private let languageModel: Tensor?
    private let pooler: Dense?
    private let classifier: Dense?
    /// The frozen tensors that cached training needs, by their checkpoint names.
    public let frozenTensors: [(name: String, shape: [Int], tensor: Tensor)]

    /// - Parameters: `frozen` gives final norm, head matrix and pooler; `trainable` gives the classifier.
    /// - Throws: when the family has no head of this kind, or a tensor is missing.
    public init(
        _ family: any ModelFamily, _ kind: HeadKind, pooling: Pooling, frozen: any ParameterSource,
        trainable: any ParameterSource
    ) throws {
        self.family = family
        self.kind = kind
        self.pooling = pooling
        let source = RecordingSource(frozen)
        let d = family.hiddenSize
        finalNorm = try family.finalNorm(family.lastStack.kind).map { try Norm($0, source) }
        switch kind {
        case .languageModel:
            guard let description = family.head.languageModel else {
                throw Failure.configuration(
                    "task.kind: expected a classification or regression task for a \(family.name) model, "
                        + "found one that generates text")
            }
            languageModel = try source.parameter(description.name, [family.vocabularySize, d])
            (pooler, classifier) = (nil, nil)
        case .classification, .regression:
            languageModel = nil
            if pooling == .cls, let name = family.head.poolerName {
                pooler = try Dense(name, from: d, to: d, hasBias: true, source)
            } else {
                pooler = nil
            }
            classifier = try Dense("classifier", from: d, to: kind.outputCount, hasBias: true, trainable)
        }
        frozenTensors = source.recorded
    }

    /// The rows of the last stack that reach the head.
    public func selection(_ batch: MicroBatch) -> RowSelection {
        let spans = batch.spans(family.lastStack.kind)
        switch (kind, pooling) {
        case (.languageModel, _): return .rows(spans.flatMap(Array.init))
        case (_, .cls): return .rows(spans.map(\.lowerBound))
        case (_, .mean): return .meanPerSequence(spans)
        }
    }

    /// h_L: the selected rows of the backbone's last activation, after the frozen final norm.
    public func backboneRows(_ lastActivation: Tensor, _ selection: RowSelection) -> Tensor {
        guard let finalNorm else { return select(lastActivation, selection) }
        switch selection {
        case .rows: return finalNorm(select(lastActivation, selection))
        case .meanPerSequence:
            // A view into the cache has rows far apart, and norms want them side by side.
            let rows = lastActivation.isContiguous ? lastActivation : lastActivation.copy()
            return select(finalNorm(rows), selection)
        }
    }

    /// Predictions from hidden states z.
    ///
    /// - Shapes: z [m, d]; result [m, vocabulary], [m, classes] or [m, 1].
    public func logits(_ z: Tensor) -> Tensor {
        if let languageModel {
            let factor = family.head.languageModel!.inputScale
            return linear(factor == 1 ? z : scale(z, by: factor), weight: languageModel)
        }
        return classifier!(pooler.map { tanh($0(z)) } ?? z)
    }

    /// The loss of predictions.
    ///
    /// - Parameter weight: 1 / (terms of the whole mini-batch); nil without gradient.
    public func loss(_ logits: Tensor, _ targets: Targets, weight: Float?) -> Loss {
        switch targets {
        case .classes(let labels), .tokens(let labels): crossEntropy(logits, labels: labels, weight: weight)
        case .scores(let scores): squaredError(logits, targets: scores, weight: weight)
        case .none: preconditionFailure("a loss needs targets")
        }
    }
}

extension HeadKind {
    var outputCount: Int {
        switch self {
        case .languageModel: 0
        case .classification(let count): count
        case .regression: 1
        }
    }
}

/// Passes on a source's tensors and remembers them.
private final class RecordingSource: ParameterSource {
    private let base: any ParameterSource
    private(set) var recorded: [(name: String, shape: [Int], tensor: Tensor)] = []

    init(_ base: any ParameterSource) { self.base = base }

    func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        let tensor = try base.parameter(name, shape, sharingGroup: sharingGroup)
        recorded.append((name, shape, tensor))
        return tensor
    }
}
