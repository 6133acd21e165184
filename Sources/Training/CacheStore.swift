import MPI
import Models
import Planning
import Support
import TensorCore
import TextData

/// This rank's cache over a run: filled in the first epoch, redistributed, read by the cached epochs, removed at the end
/// unless it is kept.
final class CacheStore {
    let thread: IOThread
    private let session: Session
    private let technique: ParallelAdapters
    private let plan: Plan
    private let directory: RunDirectory
    private var file: ActivationCacheFile?
    private var paths: Set<String> = []

    /// Creates this rank's file for its stage. Collective over the world.
    init(_ session: Session, _ technique: ParallelAdapters, _ plan: Plan, _ directory: RunDirectory) throws {
        self.session = session
        self.technique = technique
        self.plan = plan
        self.directory = directory
        thread = try IOThread()
        try session.world.agree { try makeDirectory(directory.cachePath) }
        let rank = session.world.rank
        if let stage = plan.stageIndex(ofRank: rank) {
            try session.world.agree {
                file = try create(session.model.family.steps(of: plan.stages[stage].layers))
            }
        } else {
            try session.world.agree {}
        }
    }

    /// Keeps the activations of a split as they are made; nil on a rank without a stage, and for a split that no cached
    /// epoch reads.
    func recorder(_ split: Split, _ dataset: TokenizedDataset) -> CacheRecorder? {
        guard keeps(split) else { return nil }
        return file.map {
            CacheRecorder($0, split, dataset, thread: thread, ledger: session.ledger, trace: session.trace)
        }
    }

    /// Gives every rank all layers of the samples of its slots. Collective over the world.
    ///
    /// - Parameter stepCount: mini-batches that the first epoch ran, all unless the run was cut short.
    /// - Returns: the file to train from, and the bytes that this rank received.
    func redistribute(owners: [Int], stepCount: Int) throws -> (file: ActivationCacheFile, bytes: Int) {
        let isWhole =
            stepCount == session.order(sampleCount: session.train!.count, isShuffled: false).stepCount
        guard Redistribution.isNeeded(plan, owners: owners, worldSize: session.world.size) else {
            try session.world.agree { try onThread(file!) { try $0.complete(isWhole: isWhole) } }
            return (file!, 0)
        }
        let family = session.model.family
        let source = file
        // The new file takes the name when it is complete; until then the old one keeps its `.part`.
        let target = try session.world.agree {
            if let source { try onThread(source) { try $0.setAside() } }
            return try create(family.steps(of: 0..<family.plannerLayers.count))
        }
        let mover = try Redistribution(
            plan, family, technique, owners: owners, thread: thread, ledger: session.ledger)
        var bytes = 0
        for (split, dataset) in [(Split.train, session.train), (.validation, session.validation)] {
            guard let dataset, keeps(split) else { continue }
            let isShuffled = split == .train && session.experiment.training.isShuffled
            bytes += try mover.move(
                split, from: source, to: target,
                miniBatches: Array(
                    session.order(sampleCount: dataset.count, isShuffled: isShuffled).miniBatches(epoch: 1)
                        .prefix(split == .train ? stepCount : Int.max)),
                dataset: dataset, builder: try session.builder(dataset), world: session.world)
        }
        try session.world.agree {
            try onThread(target) { try $0.complete(isWhole: isWhole) }
            if let source { try onThread(source) { try $0.discard() } }
        }
        file = target
        return (target, bytes)
    }

    /// Writes tensors that later runs need besides the activations, on rank 0: the frozen tensors of the head
    /// (`frozen`), or the initial side tensors (`side-initial`). Collective over the world.
    ///
    /// - Parameter tensors: asked for on rank 0 alone.
    func save(
        _ name: String, residual: [Int], _ tensors: () -> [(name: String, shape: [Int], values: [Float])]
    ) throws {
        let path = "\(directory.cachePath)/\(name).safetensors"
        try session.world.onRoot {
            paths.formUnion([path, path + ".part"])
            try writeSafetensors(
                tensors(),
                metadata: [
                    ("model_hash", session.model.fingerprint),
                    ("residual", residual.map(String.init).joined(separator: " ")),
                    ("reduction_factor", "\(technique.reductionFactor)"),
                ], to: path)
        }
    }

    /// Closes the cache and removes it unless it is kept. Collective over the world.
    func close(keep: Bool) throws {
        try session.world.agree {
            if let file { try onThread(file) { try $0.close() } }
            thread.stop()
            if !keep { try remove() }
        }
    }

    /// Removes this rank's files. Not collective.
    func remove() throws {
        for path in paths { try removeFile(path) }
        removeDirectoryIfEmpty(directory.cachePath)
    }

    /// A validation by generated texts runs the backbone again: its activations are of no use.
    private func keeps(_ split: Split) -> Bool { split == .train || !session.validatesByWriting }

    private func create(_ steps: [LayerStep]) throws -> ActivationCacheFile {
        let path = directory.cacheFile(rank: session.world.rank)
        paths.formUnion([path, path + ".part", path + ".epoch-1.part"])
        let identity = CacheIdentity(
            modelHash: session.model.fingerprint, tokenizerHash: session.tokenizerFingerprint,
            dataHash: [session.train, session.validation].compactMap { $0?.fingerprint }.joined(
                separator: "+"), family: session.model.family.name,
            maximumSequenceLength: session.experiment.task.maximumSequenceLength)
        let shape = try CacheShape(session.model.family, technique, steps: steps)
        let (rank, size) = (session.world.rank, session.world.size)
        return try thread.value {
            try ActivationCacheFile.create(
                path, shape: shape, identity: identity, rank: rank, worldSize: size)
        }
    }

    private func onThread(
        _ file: ActivationCacheFile, _ body: @escaping @Sendable (ActivationCacheFile) throws -> Void
    )
        throws
    {
        try thread.run { try body(file) }
    }
}
