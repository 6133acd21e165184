import MPI
import Models
import Support
import TensorCore

/// Where training starts: pruned or drawn values for what the technique adds, the checkpoint's for what it trains of the
/// model, and the classifier's from the checkpoint or drawn.
struct ParameterStart {
    /// The residual channels that a pruned side network keeps; empty without one.
    let residual: [Int]
    private let session: Session

    /// Ranks the residual channels on rank 0 and tells everyone. Collective over the world.
    init(_ session: Session) throws {
        self.session = session
        let family = session.model.family
        guard let technique = session.experiment.technique as? ParallelAdapters,
            technique.initialization == .pruned
        else {
            residual = []
            return
        }
        if let cached = session.model.cached {
            residual = cached.residual
            return
        }
        let bytes = try session.world.fromRoot {
            let embedding = try session.model.frozenSource(Ledger()).weight(
                family.tokenEmbeddingName, [family.vocabularySize, family.hiddenSize])
            let channels = StructuralPruning.residualChannels(
                embedding, keeping: try technique.sideDescription(family)!.hiddenSize)
            return channels.flatMap { channel in withUnsafeBytes(of: Int64(channel).littleEndian, Array.init)
            }
        }
        residual = bytes.withUnsafeBytes { raw in
            (0..<raw.count / 8).map { Int(raw.loadUnaligned(fromByteOffset: $0 * 8, as: Int64.self)) }
        }
    }

    /// Sets the values of a stage. Not collective.
    func initialize(_ model: StageModel) throws {
        let seed = UInt64(session.experiment.training.seed)
        // Tensors of the model are only read here: they are on the ledger of the stage's own slice.
        let stored = try session.model.frozenSource(Ledger())
        let technique = session.experiment.technique
        for declaration in model.parameters.declarations {
            if let values = technique.startValues(of: declaration, seed: seed) {
                model.parameters.set(declaration.name, values)
            } else if model.family.isClassifier(declaration.name) {
                if let values = try classifierValues(declaration, seed) {
                    model.parameters.set(declaration.name, values)
                }
            } else if technique.gradientLane == .backbone {
                let tensor = try stored.parameter(declaration.name, declaration.shape)
                model.parameters.set(declaration.name, tensor.values)
            }
        }
        if let cached = session.model.cached, let technique = technique as? ParallelAdapters {
            guard technique.initialization == .pruned else { return }
            let pruned = try cached.sideInitialization(model.family, technique, steps: model.steps)
            for (name, values) in pruned.values { model.parameters.set(name, values) }
        } else if !residual.isEmpty, let technique = technique as? ParallelAdapters {
            let pruned = try SideInitialization(
                model.family, technique, steps: model.steps, residual: residual, backbone: stored)
            for (name, values) in pruned.values { model.parameters.set(name, values) }
        }
    }

    /// What the kept parts of a pruned side network weigh, as tensors for later runs; empty where it is drawn. Not collective.
    func rankings(_ steps: [LayerStep]) throws -> CachedTensors.Tensors {
        guard !residual.isEmpty, let technique = session.experiment.technique as? ParallelAdapters else {
            return []
        }
        let (family, stored) = (session.model.family, try session.model.frozenSource(Ledger()))
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
        if let stored = try session.model.storedValues(declaration.name, declaration.shape) { return stored }
        guard declaration.shape.count == 2 else { return nil }
        return normalNumbers(
            declaration.count, standardDeviation: 0.02,
            CounterRandom(seed: seed, name: declaration.name))
    }
}
