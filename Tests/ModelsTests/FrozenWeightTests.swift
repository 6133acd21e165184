import Models
import Support
import TensorCore
import Testing
import TinyModels
import WeightFiles

/// A model whose frozen matrices stay in 16 bits is the model of the same numbers in 32.
@Suite struct FrozenWeightTests {
    private let (half, wide): (ScratchDirectory, ScratchDirectory)

    init() throws { (half, wide) = (try ScratchDirectory(), try ScratchDirectory()) }

    private static let types = ["F16", "BF16"]

    private func write(_ model: TinyModel, _ type: String) throws {
        try model.writeHalf(type, to: half.path)
        try model.writeExpanded(type, to: wide.path)
    }

    private func source(_ directory: ScratchDirectory, _ family: any ModelFamily, _ ledger: Ledger) throws
        -> CheckpointSource
    {
        CheckpointSource(try Checkpoint(directory.path), family: family, ledger: ledger)
    }

    /// A whole model under a technique, its trained parameters drawn.
    private func stage(
        _ model: TinyModel, _ technique: any TuningTechnique, _ directory: ScratchDirectory, _ ledger: Ledger
    ) throws -> StageModel {
        let family = try model.family()
        let stage = try StageModel(
            family, .init(technique: technique, head: model.head, pooling: .cls),
            steps: family.steps(of: 0..<family.plannerLayers.count),
            frozen: source(directory, family, ledger), withBackbone: true, ledger: ledger)
        for declaration in stage.parameters.declarations {
            stage.parameters.set(
                declaration.name,
                normalNumbers(
                    declaration.count, standardDeviation: 0.1, CounterRandom(seed: 7, name: declaration.name))
            )
        }
        return stage
    }

    /// Largest difference, of the largest number.
    private func distance(_ a: [Float], _ b: [Float]) -> Float {
        #expect(a.count == b.count)
        let scale = b.reduce(0) { max($0, abs($1)) }
        #expect(scale > 0)
        return zip(a, b).reduce(0) { max($0, abs($1.0 - $1.1)) } / scale
    }

    @Test("activations, logits and gradients", arguments: TinyModel.all, types)
    func sameNumbers(model: TinyModel, type: String) throws {
        try write(model, type)
        func pass(_ directory: ScratchDirectory) throws -> (activations: [[Float]], gradients: [Float]) {
            let ledger = Ledger()
            let stage = try stage(model, LowRankAdaptation(rank: 2), directory, ledger)
            let batch = try model.batch()
            let state = stage.forward(nil, batch)
            let logits = stage.logits(state, batch)
            let loss = stage.head!.loss(logits, batch.targets, weight: 1 / Float(batch.targets.termCount))
            loss.backward()
            return ([state.backbone.hidden.values, logits.values], stage.parameters.gradients.values)
        }
        let (found, expected) = (try pass(half), try pass(wide))
        // Sums are those of a float32 copy up to the order in which a product of another shape rounds them.
        for (a, b) in zip(found.activations, expected.activations) { #expect(distance(a, b) < 1e-5) }
        #expect(distance(found.gradients, expected.gradients) < 1e-4)
    }

    @Test("what is held is on the ledger, and is what the formats say", arguments: TinyModel.all, types)
    func halfTheBytes(model: TinyModel, type: String) throws {
        try write(model, type)
        let family = try model.family()
        let configuration = StageModel.Configuration(
            technique: ParallelAdapters(reductionFactor: model.reductionFactor), head: model.head,
            pooling: .cls)
        let steps = family.steps(of: 0..<family.plannerLayers.count)
        func bytes(_ directory: ScratchDirectory) throws -> (held: Int, peak: Int) {
            let ledger = Ledger()
            let stage = try StageModel(
                family, configuration, steps: steps, frozen: source(directory, family, ledger),
                withBackbone: true, ledger: ledger)
            let formats = try StoredFormats(Checkpoint(directory.path), family, configuration)
            let predicted = try StageModel.parameterBytes(family, configuration, steps: steps, formats)
            let held = ledger.live(.weights)
            #expect(held == predicted.all)
            // A forward pass may add the angles of rotary positions.
            _ = stage.forward(nil, try model.batch())
            return (held - predicted.trainable, ledger.peak(.weights) - predicted.trainable)
        }
        let (found, expected) = (try bytes(half), try bytes(wide))
        // Matrices take half, norms and biases are expanded.
        let vectors = try {
            let file = try SafetensorsFile(wide.path + "/model.safetensors")
            return file.entries.values.filter { $0.shape.count == 1 }.reduce(0) { $0 + 4 * $1.count }
        }()
        #expect(found.held >= expected.held / 2 && found.held <= (expected.held + vectors) / 2 + 1024)
        #expect(found.peak < expected.held, "no whole float32 copy, not even for a moment")
    }

    @Test("a side network is pruned out of the stored matrices", arguments: TinyModel.all, types)
    func pruning(model: TinyModel, type: String) throws {
        try write(model, type)
        let family = try model.family()
        func initial(_ directory: ScratchDirectory) throws -> [String: [Float]] {
            let source = try source(directory, family, Ledger())
            let embedding = try source.weight(
                family.tokenEmbeddingName, [family.vocabularySize, family.hiddenSize])
            let r = try family.reduced(by: model.reductionFactor).hiddenSize
            let values = try SideInitialization(
                family, ParallelAdapters(reductionFactor: model.reductionFactor),
                steps: family.steps(of: 0..<family.plannerLayers.count),
                residual: StructuralPruning.residualChannels(embedding, keeping: r), backbone: source
            ).values
            return Dictionary(uniqueKeysWithValues: values.map { ($0.name, $0.values) })
        }
        #expect(try initial(half) == initial(wide))
    }

    @Test("full tuning starts from the expanded numbers, and holds nothing else", arguments: types)
    func fullTuning(type: String) throws {
        let model = TinyModel.named("llama")
        try write(model, type)
        let ledger = Ledger()
        let stage = try stage(model, FullTuning(), half, ledger)
        let bytes = 2 * 4 * stage.parameters.count
        #expect(ledger.live(.weights) + ledger.live(.gradients) == bytes)
        let (name, shape) = ("model.layers.0.self_attn.q_proj.weight", [64, 32])
        let family = try model.family()
        #expect(
            try source(half, family, ledger).parameter(name, shape).values
                == source(wide, family, ledger).parameter(name, shape).values)
    }
}
