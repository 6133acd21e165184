import ActivationCache
import MPI
import Models
import Support
import TensorCore

/// Where training starts: pruned or drawn values for what the technique adds, the checkpoint's for what it trains of the
/// model, and the classifier's from the checkpoint or drawn.
struct ParameterStart {
    /// The residual channels that a pruned side network keeps; empty without one.
    let residual: [Int]
    private let model: TunedModel
    private let seed: UInt64

    /// Ranks the residual channels on rank 0 and tells everyone. Collective over the world.
    ///
    /// - Parameter seed: of what is drawn.
    init(_ model: TunedModel, seed: Int, _ world: borrowing Communicator) throws {
        self.model = model
        self.seed = UInt64(seed)
        let family = model.family
        guard let technique = model.configuration.technique.side,
            technique.initialization == .pruned
        else {
            residual = []
            return
        }
        if let cached = model.files.cached {
            residual = cached.residual
            return
        }
        let bytes = try world.fromRoot {
            let embedding = try model.files.frozenSource(Ledger()).weight(
                family.tokenEmbeddingName, [family.vocabularySize, family.hiddenSize])
            let channels = StructuralPruning.residualChannels(
                embedding, keeping: try technique.sideDescription(family).hiddenSize)
            var writer = ByteWriter()
            writer.write(channels)
            return writer.bytes
        }
        var reader = ByteReader(bytes, "the list of residual channels")
        residual = try reader.list()
    }

    /// Sets the values of a stage. Not collective.
    func initialize(_ stage: StageModel) throws {
        // Tensors of the model are only read here: they are on the ledger of the stage's own slice.
        let stored = try model.files.frozenSource(Ledger())
        let technique = model.configuration.technique
        for declaration in stage.parameters.declarations {
            if let values = technique.startValues(of: declaration, seed: seed) {
                stage.parameters.set(declaration.name, values)
            } else if stage.family.isClassifier(declaration.name) {
                if let values = try classifierValues(declaration, seed) {
                    stage.parameters.set(declaration.name, values)
                }
            } else if technique.gradientLane == .backbone {
                let tensor = try stored.parameter(declaration.name, declaration.shape)
                stage.parameters.set(declaration.name, tensor.values)
            }
        }
        if let cached = model.files.cached, let technique = technique.side {
            guard technique.initialization == .pruned else { return }
            let pruned = try cached.sideInitialization(stage.family, technique, steps: stage.steps)
            for (name, values) in pruned.values { stage.parameters.set(name, values) }
        } else if !residual.isEmpty, let technique = technique.side {
            let pruned = try SideInitialization(
                stage.family, technique, steps: stage.steps, residual: residual, backbone: stored)
            for (name, values) in pruned.values { stage.parameters.set(name, values) }
        }
    }

    /// What the kept parts of a pruned side network weigh, as tensors for later runs; empty where it is drawn. Not collective.
    func rankings(_ steps: [LayerStep]) throws -> CachedTensors.Tensors {
        guard !residual.isEmpty, let technique = model.configuration.technique.side else {
            return []
        }
        let (family, stored) = (model.family, try model.files.frozenSource(Ledger()))
        let embedding = try stored.weight(
            family.tokenEmbeddingName, [family.vocabularySize, family.hiddenSize])
        let pruned = try SideInitialization(
            family, technique, steps: steps, residual: residual, backbone: stored)
        return CachedTensors.rankings(
            residual: Array(StructuralPruning.residualRanking(embedding).prefix(residual.count)),
            pruned.rankings)
    }

    /// The checkpoint's, or N(0, 0.02) for a matrix; nil leaves zeros.
    private func classifierValues(_ declaration: ParameterBucket.Declaration, _ seed: UInt64) throws
        -> [Float]?
    {
        if let stored = try model.files.storedValues(declaration.name, declaration.shape) { return stored }
        guard declaration.shape.count == 2 else { return nil }
        return normalNumbers(
            declaration.count, standardDeviation: 0.02,
            CounterRandom(seed: seed, name: declaration.name))
    }
}
