import HDF5
import MPI
import Models
import Planning
import Support
import TensorCore
import TextData

/// This rank's part of the activation cache over a run: filled in the first epoch, or found where an earlier launch left
/// it, redistributed, read by the cached epochs, removed at the end unless it is kept.
final class CacheStore {
    let thread: IOThread
    private let session: Session
    private let technique: ParallelAdapters
    private let directory: RunDirectory
    /// Whether the files that were there belong to another run, which keeps them.
    private let isReplay: Bool
    /// All layers that the side network reads.
    let shape: CacheShape
    /// The files that this rank can read, those of an earlier launch first.
    private(set) var files: [ActivationCacheFile] = []
    /// How many of `files` an earlier launch left.
    private let survivorCount: Int
    /// Where this rank writes what its stage computes.
    private var stageFile: ActivationCacheFile?
    /// Samples that this rank's stage need not write, as an earlier launch did.
    private var known: [Split: Set<Int>] = [:]
    /// The samples that there is room for; all of a split that is not named.
    var resident: [Split: Set<Int>] = [:]
    private var paths: Set<String> = []

    /// What becomes of cache files that are there already.
    enum Earlier {
        /// There are none: the run is new.
        case none
        /// They are used as far as they are whole, and what they lack is computed again.
        case reused
        /// They are those of a run whose cache was kept, and all that there is: a damaged one is an error, and none is
        /// changed or removed.
        case kept(RunDirectory)
    }

    /// Opens what is there. Collective over the world.
    ///
    /// - Throws: on all ranks, when a file belongs to another model, tokenizer, data set, length or precision.
    convenience init(
        _ session: Session, _ technique: ParallelAdapters, _ directory: RunDirectory, earlier: Earlier
    ) throws {
        try self.init(session, technique, directory, earlier: earlier, thread: try IOThread())
    }

    /// A store for the activations of some mini-batches, while they are trained. Collective over the world.
    func makeWindow() throws -> CacheStore {
        try CacheStore(session, technique, directory, earlier: .none, thread: thread)
    }

    private init(
        _ session: Session, _ technique: ParallelAdapters, _ directory: RunDirectory, earlier: Earlier,
        thread: IOThread
    ) throws {
        self.session = session
        self.technique = technique
        self.directory = directory
        let family = session.model.family
        shape = try CacheShape(family, technique, steps: family.steps(of: 0..<family.plannerLayers.count))
        self.thread = thread
        let (source, isLenient, isReplay) =
            switch earlier {
            case .none: (RunDirectory?.none, false, false)
            case .reused: (directory, true, false)
            case .kept(let other): (other, false, true)
            }
        self.isReplay = isReplay
        let identity = session.cacheIdentity
        let found = try session.world.agree { () -> [ActivationCacheFile] in
            if !isReplay { try directory.makeCacheDirectory() }
            return try (source?.cacheFiles() ?? []).compactMap { path -> ActivationCacheFile? in
                try thread.value { try Self.open(path, identity, isLenient: isLenient) }
            }
        }
        files = found
        survivorCount = found.count
        if !isReplay { for file in found { paths.insert(file.path) } }
        let builders = try [Split.train: session.train, .validation: session.validation].compactMapValues {
            try $0.map { ($0.count, try session.builder($0)) }
        }
        for file in found {
            for split in Split.allCases {
                file.forget(split) { sample, counts in
                    guard let (count, builder) = builders[split], (0..<count).contains(sample) else {
                        return true
                    }
                    return counts != file.shape.stacks.map { builder.tokenCount(sample, $0.stack) }
                }
            }
        }
    }

    /// Opens one file. Runs on the I/O thread.
    ///
    /// - Returns: nil for a file that its writer left in a state that nobody can read, if others may stand in for it.
    private static func open(
        _ path: String, _ identity: CacheIdentity, isLenient: Bool
    ) throws -> ActivationCacheFile? {
        let file: H5File
        do { file = try H5File.openForReading(path) } catch {
            guard isLenient else { throw error }
            return nil
        }
        try identity.check(file)
        do {
            return try ActivationCacheFile(reading: file, identity: identity, verifies: isLenient)
        } catch {
            guard isLenient else { throw error }
            return nil
        }
    }

    /// Whether an earlier launch left anything, here or on another rank. Collective over the world.
    func hasSurvivors() throws -> Bool { try session.world.allReduceMax(Int64(survivorCount)) > 0 }

    /// Which samples lie where. Collective over the world.
    func inventory() throws -> CacheInventory {
        try CacheInventory(files, complete: shape, world: session.world)
    }

    // MARK: Filling

    /// Creates this rank's file for the layers of its stage. Collective over the world.
    func beginStage(_ plan: Plan) throws {
        let rank = session.world.rank
        let family = session.model.family
        try session.world.agree {
            guard let stage = plan.stageIndex(ofRank: rank) else { return }
            let steps = family.steps(of: plan.stages[stage].layers)
            let file = try create(try CacheShape(family, technique, steps: steps))
            for split in Split.allCases {
                known[split] = Set(files.filter { $0.shape == file.shape }.flatMap { $0.samples(split) })
            }
            stageFile = file
            files.append(file)
        }
    }

    /// Keeps the activations of a split as they are made; nil on a rank without a stage, and for a split that no cached
    /// epoch reads.
    func recorder(_ split: Split, _ dataset: TokenizedDataset) -> CacheRecorder? {
        guard keeps(split) else { return nil }
        return stageFile.map { file in
            let (known, resident) = (known[split] ?? [], resident[split])
            return CacheRecorder(
                file, split, dataset, thread: thread, ledger: session.ledger, trace: session.trace
            ) { known.contains($0) || !(resident?.contains($0) ?? true) }
        }
    }

    /// A validation by generated texts runs the backbone again: its activations are of no use.
    func keeps(_ split: Split) -> Bool {
        (split == .train || !session.validatesByWriting) && resident[split]?.isEmpty != true
    }

    // MARK: Redistributing

    /// What a rank trains: the samples of each split, with the rank that owns each.
    typealias Needs = [(split: Split, dataset: TokenizedDataset, samples: [Redistribution.Owned])]

    /// Gives every rank all layers of the samples that it owns. Collective over the world.
    ///
    /// - Parameter isWhole: whether these are all samples of the data; nil for files of a window, which get no name.
    /// - Returns: the bytes that this rank received.
    func redistribute(_ needs: Needs, isWhole: Bool?) throws -> Int {
        let name = directory.cacheFile(rank: session.world.rank)
        let inventory = try inventory()
        let isPlaced = needs.allSatisfy { split, _, samples in
            (0..<session.world.size).allSatisfy { rank in
                inventory.isPlaced(
                    split, samples.filter { $0.owner == rank }.map(\.sample), on: rank, fromOne: !isReplay)
            }
        }
        // Beside files of an earlier launch, the one of the stage may hold a part only: then all is put together.
        let isSingle = stageFile == nil || files.count == 1
        let canStay = try session.world.allReduceMax(Int64(isSingle ? 0 : 1)) == 0
        guard !(isPlaced && canStay) else {
            try session.world.agree {
                guard let stageFile, let isWhole else { return }
                try onThread(stageFile) {
                    try $0.complete(isWhole: isWhole)
                    try $0.rename(to: name)
                }
                paths.insert(stageFile.path)
            }
            return 0
        }
        if isReplay { try session.world.agree { try directory.makeCacheDirectory() } }
        // The new file takes the name when it is complete; until then whatever has the name keeps it.
        let target = try session.world.agree { try create(shape) }
        let mover = Redistribution(
            inventory, from: files, to: target, thread: thread, ledger: session.ledger)
        var bytes = 0
        for (split, dataset, samples) in needs {
            bytes += try mover.move(
                split, samples, dataset: dataset, builder: try session.builder(dataset), world: session.world)
        }
        // Nothing old is touched before all ranks have the new on their disks.
        if let isWhole {
            try session.world.agree { try onThread(target) { try $0.complete(isWhole: isWhole) } }
        }
        try session.world.agree {
            for file in files {
                let isCustodian = !isReplay && inventory.isCustodian(session.world.rank, of: file)
                try onThread(file) { isCustodian ? try $0.discard() : try $0.close() }
            }
        }
        // Only when all that is old is gone: its custodian may be another rank, and the name the same.
        try session.world.agree {
            if isWhole != nil { try onThread(target) { try $0.rename(to: name) } }
        }
        paths.insert(target.path)
        files = [target]
        stageFile = nil
        return bytes
    }

    // MARK: Beside the activations

    /// Writes what later runs need besides the activations, on rank 0. Collective over the world.
    ///
    /// - Parameter tensors: asked for on rank 0 alone.
    func save(_ tensors: () throws -> CachedTensors) throws {
        try session.world.onRoot { try tensors().write(to: directory) }
    }

    // MARK: The end

    /// Closes the cache and removes it unless it is kept. Collective over the world.
    func close(keep: Bool) throws {
        try session.world.agree {
            for file in files { try onThread(file) { try $0.close() } }
            (files, stageFile) = ([], nil)
            thread.stop()
            if !keep { try remove() }
        }
    }

    /// Removes the files of a window. Collective over the world.
    func discard() throws {
        try session.world.agree { for file in files { try onThread(file) { try $0.discard() } } }
        files = []
    }

    /// Removes this rank's files. Not collective.
    func remove() throws {
        for path in paths { try removeFile(path) }
        if session.world.rank == 0, !isReplay {
            for name in RunDirectory.cacheTensorNames { try removeFile(directory.cacheTensors(name)) }
        }
        directory.removeCacheDirectoryIfEmpty()
    }

    /// Saves what was written, when this rank ends alone. Not collective.
    func flush() throws {
        if let stageFile { try onThread(stageFile) { try $0.flush() } }
    }

    private func create(_ shape: CacheShape) throws -> ActivationCacheFile {
        let (rank, size) = (session.world.rank, session.world.size)
        let path = directory.freeCachePart(rank: rank)
        paths.insert(path)
        let identity = session.cacheIdentity
        return try thread.value {
            try ActivationCacheFile.create(
                path, shape: shape, identity: identity, rank: rank, worldSize: size)
        }
    }

    private func onThread(
        _ file: ActivationCacheFile, _ body: @escaping @Sendable (ActivationCacheFile) throws -> Void
    ) throws {
        try thread.run { try body(file) }
    }
}

extension Session {
    /// What a cache of this session belongs to.
    var cacheIdentity: CacheIdentity {
        CacheIdentity(
            modelHash: model.fingerprint, tokenizerHash: tokenizerFingerprint,
            dataHash: dataFingerprint, family: model.family.name,
            maximumSequenceLength: experiment.task.maximumSequenceLength,
            precision: experiment.cache.precision)
    }

    /// Identifies the rows of both splits as the model reads them.
    var dataFingerprint: String {
        [train, validation].compactMap { $0?.fingerprint }.joined(separator: "+")
    }
}
