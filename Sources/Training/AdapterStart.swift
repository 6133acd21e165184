import MPI
import Models
import Support
import TensorCore

/// Gives a stage's trainable parameters their start: pruned side tensors, and the classifier's from the checkpoint or
/// drawn.
enum AdapterStart {
    /// The residual channels that the side network keeps, computed on rank 0, known on all. Collective over the world.
    static func residualChannels(_ session: Session) throws -> [Int] {
        let family = session.model.family
        let k = session.experiment.technique.reductionFactor
        let bytes = try session.world.fromRoot {
            let reduced: any ModelFamily = try family.reduced(by: k)
            let embedding = try session.model.frozenSource(Ledger()).parameter(
                family.tokenEmbeddingName, [family.vocabularySize, family.hiddenSize])
            let channels = StructuralPruning.residualChannels(embedding, keeping: reduced.hiddenSize)
            return channels.flatMap { channel in withUnsafeBytes(of: Int64(channel).littleEndian, Array.init)
            }
        }
        return bytes.withUnsafeBytes { raw in
            (0..<raw.count / 8).map { Int(raw.loadUnaligned(fromByteOffset: $0 * 8, as: Int64.self)) }
        }
    }

    /// Sets the values of a stage. Not collective.
    static func initialize(_ model: StageModel, session: Session, residual: [Int]) throws {
        // The backbone's tensors are only read here: they are on the ledger of the stage's own slice.
        let start = try SideInitialization(
            model.family, session.experiment.technique, steps: model.steps, residual: residual,
            backbone: session.model.frozenSource(Ledger()))
        for (name, values) in start.values { model.parameters.set(name, values) }
        for declaration in model.parameters.declarations where !declaration.name.hasPrefix("side.") {
            if let stored = try session.model.storedValues(declaration.name, declaration.shape) {
                model.parameters.set(declaration.name, stored)
            } else if declaration.shape.count == 2 {
                let seed = UInt64(session.experiment.training.seed)
                model.parameters.set(
                    declaration.name,
                    normalNumbers(
                        declaration.count, standardDeviation: 0.02,
                        CounterRandom(seed: seed, name: declaration.name)))
            }
        }
    }
}
