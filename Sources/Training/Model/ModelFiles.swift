import ActivationCache
import Configuration
import Families
import Models
import Support
import TensorCore
import WeightFiles

/// A model as an experiment names it: its family, and where its frozen tensors come from.
package final class ModelFiles {
    package let family: any ModelFamily
    private let specification: Experiment.Model
    /// What a kept cache has of the model; nil where the model itself is read.
    let cached: CachedTensors?
    /// Open while the backbone is in use.
    private var checkpoint: Checkpoint?
    /// Identifies weights and configuration.
    package let fingerprint: String

    init(_ specification: Experiment.Model) throws {
        self.specification = specification
        cached = nil
        let configuration: JSONReader
        let weights: String
        switch specification.initialization {
        case .checkpoint:
            let checkpoint = try Checkpoint(specification.path)
            configuration = checkpoint.configuration
            weights = checkpoint.fingerprint
            self.checkpoint = checkpoint
        case .random:
            configuration = try Checkpoint.readConfiguration(specification.path)
            weights = "random-\(specification.seed)"
        }
        family = try readModelFamily(directory: specification.path)
        // The same tensors under another epsilon or activation are another model.
        fingerprint = weights + "-" + Fingerprint(try readFile(configuration.file)).text
    }

    /// A model whose tensors come from a cache: only `config.json` is read.
    ///
    /// - Throws: when the cache belongs to a model with another configuration.
    init(_ specification: Experiment.Model, cached: CachedTensors) throws {
        self.specification = specification
        self.cached = cached
        let configuration = try Checkpoint.readConfiguration(specification.path)
        family = try readModelFamily(directory: specification.path)
        let own = Fingerprint(try readFile(configuration.file)).text
        guard cached.modelHash.hasSuffix("-" + own) else {
            throw Failure.configuration(
                "\(cached.place): model_hash: expected one that ends with \(own), the hash of \(configuration.file), found "
                    + "\(cached.modelHash): the cache belongs to another model")
        }
        fingerprint = cached.modelHash
    }

    /// Checks that every tensor of the model is there with its shape, before any rank starts: stages build their slices
    /// later. Nothing is read.
    func check(_ configuration: StageModel.Configuration) throws {
        let steps = family.steps(of: 0..<family.plannerLayers.count)
        let declaring = try DeclaringSource(wholeModel: family, configuration)
        try configuration.technique.check(family)
        try configuration.technique.check(configuration.head, configuration.pooling)
        _ = try StageModel.declarations(family, configuration, steps: steps)
        guard let source = try frozenSource(Ledger()) as? CheckpointSource else { return }
        for declaration in declaring.declarations { try source.check(declaration.name, declaration.shape) }
    }

    /// How the frozen matrices are stored. Nothing is read but the headers.
    func formats(_ configuration: StageModel.Configuration) throws -> StoredFormats {
        guard cached == nil, specification.initialization == .checkpoint else { return .float32 }
        return try StoredFormats(openCheckpoint(), family, configuration)
    }

    /// The checkpoint, mapped again if it was released.
    private func openCheckpoint() throws -> Checkpoint {
        if let checkpoint { return checkpoint }
        let opened = try Checkpoint(specification.path)
        checkpoint = opened
        return opened
    }

    /// The backbone's tensors: a view of the mapped checkpoint, or drawn from the seed.
    package func frozenSource(_ ledger: Ledger) throws -> any ParameterSource {
        if let cached { return cached.frozenSource(ledger) }
        switch specification.initialization {
        case .random: return RandomSource(seed: UInt64(specification.seed), ledger: ledger)
        case .checkpoint:
            return CheckpointSource(try openCheckpoint(), family: family, ledger: ledger)
        }
    }

    /// A trained tensor's start from the checkpoint (a classifier that was saved with it); nil when it has none of this
    /// shape.
    package func storedValues(_ name: String, _ shape: [Int]) throws -> [Float]? {
        if let cached { return cached.classifierValues(name, shape) }
        guard specification.initialization == .checkpoint,
            let source = try frozenSource(Ledger()) as? CheckpointSource,
            let stored = source.storedName(of: name),
            checkpoint!.shape(of: stored) == shape
        else { return nil }
        return try source.parameter(name, shape).values
    }

    /// Unmaps the checkpoint, once no tensor views it any more; it is mapped again when asked for.
    package func release() { checkpoint = nil }

    /// The pooling that the checkpoint declares (`1_Pooling/config.json` of sentence-transformers), else `cls`.
    func declaredPooling() throws -> Pooling {
        let path = specification.path + "/1_Pooling/config.json"
        guard fileExists(path) else { return .cls }
        let object = try JSONReader(contentsOf: path).object()
        return try object.optional("pooling_mode_mean_tokens")?.bool() == true ? .mean : .cls
    }
}

/// Copies what another source gives, so that nothing keeps a checkpoint mapped: for the few frozen tensors that outlive
/// the backbone.
struct CopyingSource: ParameterSource {
    private let base: any ParameterSource
    private let ledger: Ledger

    /// - Parameter base: gives its tensors under a ledger of its own, as only the copies stay.
    init(_ base: any ParameterSource, ledger: Ledger) {
        self.base = base
        self.ledger = ledger
    }

    func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        try Weight.float32(base.parameter(name, shape, sharingGroup: sharingGroup)).copy(ledger: ledger)
            .tensor
    }

    func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight {
        try base.weight(name, shape, sharingGroup: sharingGroup).copy(ledger: ledger)
    }
}
