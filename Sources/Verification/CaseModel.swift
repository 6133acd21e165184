import Families
import Models
import Support
import TensorCore
import WeightFiles

/// A case's model in one piece, under a technique.
struct CaseModel {
    let family: any ModelFamily
    let checkpoint: Checkpoint
    let source: CheckpointSource
    let model: StageModel
    let ledger = Ledger()

    /// Builds the model of a case; trainable tensors that the checkpoint holds (the task's head) have its values.
    init(_ reference: ReferenceCase, _ technique: any TuningTechnique) throws {
        checkpoint = try Checkpoint(reference.directory + "/checkpoint")
        family = try readModelFamily(directory: checkpoint.directory)
        source = CheckpointSource(checkpoint, family: family, ledger: ledger)
        let head: HeadKind
        switch try reference.task() {
        case .languageModel: head = .languageModel
        case .classification:
            head = .classification(
                checkpoint.shape(of: family.head.classifier.output + ".weight")?.first ?? 0)
        case .regression: head = .regression
        }
        model = try StageModel(
            family, .init(technique: technique, head: head, pooling: .cls),
            steps: family.steps(of: 0..<family.plannerLayers.count), frozen: source, withBackbone: true,
            ledger: ledger)
        for (name, values) in try headValues() { model.parameters.set(name, values) }
    }

    /// The trainable tensors that the checkpoint holds: the task's head.
    func headValues() throws -> [(name: String, values: [Float])] {
        try model.parameters.declarations.filter { checkpoint.contains($0.name) }.map {
            ($0.name, try checkpoint.tensor($0.name, ledger: ledger).values)
        }
    }

    /// The mean loss of logits.
    func loss(_ logits: Tensor, _ batch: MicroBatch) -> Float {
        Float(model.head!.loss(logits, batch.targets, weight: nil).sum / Double(batch.targets.termCount))
    }

    /// The mean loss of one pass, and its gradients in the bucket.
    func lossAndGradients(_ state: HiddenState, _ batch: MicroBatch) -> Float {
        model.parameters.zeroGradients()
        let loss = model.head!.loss(
            model.logits(state, batch), batch.targets, weight: 1 / Float(batch.targets.termCount))
        loss.backward()
        return Float(loss.sum / Double(batch.targets.termCount))
    }
}

/// The activations of one batch in the layout of the cache: each token's layers side by side.
struct CachedActivations {
    private var blocks: [StackKind: (tensor: Tensor, layers: Int)] = [:]

    /// Runs the backbone once and keeps every b.
    init(_ model: CaseModel, _ batch: MicroBatch) {
        var activations: [StackKind: [Tensor]] = [:]
        _ = model.model.forward(nil, batch) { activations[$0, default: []].append($2) }
        let d = model.family.hiddenSize
        for (stack, layers) in activations {
            let rows = layers[0].rows
            let block = Tensor(rows: rows, columns: layers.count * d, category: .cache, ledger: model.ledger)
            for (layer, b) in layers.enumerated() {
                for row in 0..<rows {
                    let place = block.pointer + (row * layers.count + layer) * d
                    place.update(from: b.pointer + row * b.rowStride, count: d)
                }
            }
            blocks[stack] = (block, layers.count)
        }
    }

    /// b of a layer: a view whose rows are as far apart as the cache's.
    func callAsFunction(_ stack: StackKind, _ layer: Int) -> Tensor {
        let (block, layers) = blocks[stack]!
        let d = block.columns / layers
        return Tensor(
            block.storage, offset: layer * d, rows: block.rows, columns: d, rowStride: block.columns)
    }
}
