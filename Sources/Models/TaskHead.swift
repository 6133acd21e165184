import Support
import TensorCore

/// What the last stage predicts.
package enum HeadKind: Sendable, Equatable {
    case languageModel
    case classification(Int)
    case regression
}

/// Which tokens reach a classifier.
package enum Pooling: String, Sendable, CaseIterable {
    /// The family's token (BERT's first, BART's last end of sentence), through the checkpoint's frozen pooler.
    case cls
    /// The mean of the real tokens, without a frozen pooler.
    case mean
    /// Of a pair of texts, the means u and v of either one's tokens, compared: |u - v| and u ⊙ v side by side.
    case pair
}

/// The end of the model: selection of rows, final norm, head matrix or pooler, trained classifier, loss.
///
/// It needs few of the backbone's tensors, so that it lives on when the backbone is released: `frozenTensors`.
package final class TaskHead {
    private let family: any ModelFamily
    private let kind: HeadKind
    private let pooling: Pooling
    private let finalNorm: Norm?
    private let languageModel: LanguageModel?
    /// The classifier's layer under a tanh, frozen (a pooler) or trained.
    private let hidden: Dense?
    private let classifier: Dense?
    /// The frozen tensors that cached training needs, by their checkpoint names.
    package let frozenTensors: [(name: String, shape: [Int], weight: Weight)]

    /// - Parameters: `model` gives final norm, head matrix and pooler, frozen but under full tuning; `frozen` what is
    ///   never trained; `trainable` the classifier.
    /// - Throws: when the family has no head of this kind, or a tensor is missing.
    package init(
        _ family: any ModelFamily, _ kind: HeadKind, pooling: Pooling, model: any ParameterSource,
        frozen: any ParameterSource, trainable: any ParameterSource
    ) throws {
        self.family = family
        self.kind = kind
        self.pooling = pooling
        let (source, fixed) = (RecordingSource(model), RecordingSource(frozen))
        let d = family.hiddenSize
        finalNorm = try family.finalNorm(family.lastStack.kind).map { try Norm($0, source) }
        switch kind {
        case .languageModel:
            guard let description = family.head.languageModel else {
                throw Failure.configuration(
                    "task.kind: expected a classification or regression task for a \(family.name) model, "
                        + "found one that generates text")
            }
            languageModel = try LanguageModel(
                description, [family.vocabularySize, d], source, frozen: fixed)
            (hidden, classifier) = (nil, nil)
        case .classification, .regression:
            languageModel = nil
            let description = family.head.classifier
            guard pooling != .pair || family.stacks.map(\.kind) == [.encoder] else {
                throw Failure.configuration(
                    "task.pooling: expected \"cls\" or \"mean\" for a \(family.name) model, whose tokens do not say which "
                        + "text of a pair they belong to, found \"pair\"")
            }
            if let (name, isTrained) = description.hidden, isTrained || pooling == .cls {
                hidden = try Dense(
                    name, from: d, to: d, hasBias: true, isTrained ? trainable : source)
            } else {
                hidden = nil
            }
            classifier = try Dense(
                description.output, from: pooling == .pair ? 2 * d : d, to: kind.outputCount,
                hasBias: description.hasBias, trainable)
        }
        frozenTensors = (source.recorded + fixed.recorded).filter { $0.weight.differentiable?.node == nil }
    }

    /// The rows of the last stack that reach the head.
    package func selection(_ batch: MicroBatch) -> RowSelection {
        let spans = batch.spans(family.lastStack.kind)
        switch (kind, pooling) {
        case (.languageModel, _): return .rows(batch.targetRows)
        case (_, .cls): return .rows(classifierRows(batch, spans))
        case (_, .mean): return .meanPerSequence(spans)
        case (_, .pair):
            let pairs = batch.pairSpans
            return .meanPerSequence(pairs.map(\.first) + pairs.map(\.second))
        }
    }

    /// The row of each sequence that a classifier reads. Positions of the decoder are those of the input: it reads the
    /// input shifted by one.
    private func classifierRows(_ batch: MicroBatch, _ spans: [Range<Int>]) -> [Int] {
        switch family.head.classifier.token {
        case .first: return spans.map(\.lowerBound)
        case .last: return spans.map { $0.upperBound - 1 }
        case .lastOccurrence(let id):
            return zip(spans, batch.inputSpans).map { span, input in
                guard let place = batch.input.ids[input].lastIndex(of: id) else {
                    preconditionFailure("a sequence to classify must contain the token \(id)")
                }
                return span.lowerBound + place - input.lowerBound
            }
        }
    }

    /// h_L: the selected rows of the backbone's last activation, after the final norm.
    ///
    /// - Parameter dropout: drops them where the family does, when the backbone is trained.
    package func backboneRows(
        _ lastActivation: Tensor, _ selection: RowSelection, _ batch: MicroBatch, dropout: DropoutKeys? = nil
    ) -> Tensor {
        func dropped(_ x: Tensor, _ spans: [Range<Int>]) -> Tensor {
            drop(x, family.dropsFinalNorm ? dropout : nil, "backbone.final", spans: spans)
        }
        let spans = batch.spans(family.lastStack.kind)
        guard let finalNorm else { return select(lastActivation, selection) }
        switch selection {
        case .rows:
            return dropped(finalNorm(select(lastActivation, selection)), selection.spans(in: spans))
        case .meanPerSequence:
            // A view into the cache has rows far apart, and norms want them side by side.
            let rows =
                lastActivation.isContiguous
                ? lastActivation : lastActivation.copy().with(node: lastActivation.node)
            return select(dropped(finalNorm(rows), spans), selection)
        }
    }

    /// Predictions from hidden states z.
    ///
    /// - Parameter dropout: drops before the classifier's trained layers, as the families do; nil when the backbone is
    ///   frozen and in inference.
    /// - Shapes: z [m, d]; result [m, vocabulary], [m, classes] or [m, 1].
    package func logits(_ z: Tensor, dropout: DropoutKeys? = nil) -> Tensor {
        if let languageModel { return languageModel(z) }
        let keys = family.dropsEmbedding ? dropout : nil
        var x = pooling == .pair ? compareHalves(z) : z
        let sequences = (0..<x.rows).map { $0..<$0 + 1 }
        if let hidden {
            let isTrained = family.head.classifier.hidden?.isTrained ?? false
            x = tanh(hidden(drop(x, isTrained ? keys : nil, "classifier.input", spans: sequences)))
        }
        return classifier!(drop(x, keys, "classifier.output", spans: sequences))
    }

    /// The loss of predictions.
    ///
    /// - Parameter weight: 1 / (terms of the whole mini-batch); nil without gradient.
    package func loss(_ logits: Tensor, _ targets: Targets, weight: Float?) -> Loss {
        switch targets {
        case .classes(let labels), .tokens(let labels): crossEntropy(logits, labels: labels, weight: weight)
        case .scores(let scores): squaredError(logits, targets: scores, weight: weight)
        case .none: preconditionFailure("a loss needs targets")
        }
    }
}

/// The head of a language model; its bias is no parameter in any family.
private struct LanguageModel {
    private let weight: Weight
    private let bias: Tensor?
    private let inputScale: Float

    init(
        _ description: LanguageModelDescription, _ shape: [Int], _ source: any ParameterSource,
        frozen: any ParameterSource
    ) throws {
        weight = try source.weight(description.weight, shape)
        bias = try description.bias.map { try frozen.parameter($0, [1, shape[0]]) }
        inputScale = description.inputScale
    }

    func callAsFunction(_ z: Tensor) -> Tensor {
        linear(inputScale == 1 ? z : scale(z, by: inputScale), weight: weight, bias: bias)
    }
}

extension RowSelection {
    /// The selected rows of each sequence, as they stand in the selection.
    fileprivate func spans(in sequences: [Range<Int>]) -> [Range<Int>] {
        guard case .rows(let rows) = self else { return sequences.indices.map { $0..<$0 + 1 } }
        var start = 0
        return sequences.map { sequence in
            let end = start + rows[start...].prefix { sequence.contains($0) }.count
            defer { start = end }
            return start..<end
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
    private(set) var recorded: [(name: String, shape: [Int], weight: Weight)] = []

    init(_ base: any ParameterSource) { self.base = base }

    func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        let tensor = try base.parameter(name, shape, sharingGroup: sharingGroup)
        recorded.append((name, shape, .float32(tensor)))
        return tensor
    }

    func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight {
        let weight = try base.weight(name, shape, sharingGroup: sharingGroup)
        recorded.append((name, shape, weight))
        return weight
    }
}
