import HDF5
import MPI
import Models
import Plans
import Support
import TensorCore
import TextData

/// This rank's part of the activation cache over a run: filled in the first epoch, or found where an earlier launch left
/// it, redistributed, read by the cached epochs, removed at the end unless it is kept.
final class CacheStore {
    let thread: IOThread
    private let channel: Redistribution.Channel
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
    /// Moves activations while the stages compute; nil where none have to move, and when all have.
    private var mover: Redistribution?
    /// The rank that will train each sample that moves while the stages compute.
    private var owners: [Split: [Int: Int]] = [:]
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
        try self.init(
            session, technique, directory, earlier: earlier, thread: try IOThread(),
            channel: try Redistribution.Channel(session.world))
    }

    /// A store for the activations of some mini-batches, while they are trained. Collective over the world.
    func makeWindow() throws -> CacheStore {
        try CacheStore(
            session, technique, directory, earlier: .none, thread: thread, channel: channel)
    }

    private init(
        _ session: Session, _ technique: ParallelAdapters, _ directory: RunDirectory, earlier: Earlier,
        thread: IOThread, channel: Redistribution.Channel
    ) throws {
        self.session = session
        self.channel = channel
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

    /// Takes the activations of a split as they are made; nil for a split that no cached epoch reads.
    func filling(_ split: Split, _ dataset: TokenizedDataset) throws -> CacheFilling? {
        guard keeps(split) else { return nil }
        let recorder = stageFile.map { file in
            CacheRecorder(
                file, split, dataset, thread: thread, ledger: session.ledger, trace: session.trace,
                isKnown: { [self] in !isRecorded(split, $0) })
        }
        guard let mover, let owners = owners[split] else { return CacheFilling(recorder) }
        let builder = try session.builder(dataset)
        return CacheFilling(recorder, mover) { samples in
            // What an earlier launch has lost is not expected: it moves when all that is missing has been computed.
            let needed = samples.compactMap { sample in owners[sample].map { (sample: sample, owner: $0) } }
                .filter { mover.knows(split, $0) }
            mover.ship(split, needed, dataset: dataset, builder: builder)
        }
    }

    /// Whether this rank's stage writes a sample that it computes.
    private func isRecorded(_ split: Split, _ sample: Int) -> Bool {
        !(known[split]?.contains(sample) ?? false) && (resident[split]?.contains(sample) ?? true)
    }

    /// A validation by generated texts runs the backbone again: its activations are of no use.
    func keeps(_ split: Split) -> Bool {
        (split == .train || !session.validatesByWriting) && resident[split]?.isEmpty != true
    }

    // MARK: Redistributing

    /// What a rank trains: the samples of each split, with the rank that owns each.
    typealias Needs = [(split: Split, dataset: TokenizedDataset, samples: [Redistribution.Owned])]

    /// Makes ready to move activations while the stages go on computing, if any have to move and there is room for what
    /// is under way. Otherwise they move when all are computed. Collective over the world.
    ///
    /// - Parameters: `passing` are the mini-batches of each split that the stages are about to compute, in their order;
    ///   `room` is what this rank can spare.
    func beginMoving(_ needs: Needs, passing: [Split: [[Int]]], plan: Plan, room: Int) throws {
        let rank = session.world.rank
        let place = Placement(plan, rank: rank)
        let expected = passing.reduce(into: [Split: [Int]]()) { expected, entry in
            let (split, miniBatches) = entry
            guard let place, stageFile != nil else { return }
            let sequence = MicroBatchSequence(miniBatches, place)
            expected[split] = (0..<sequence.count).flatMap(sequence.samples).filter { isRecorded(split, $0) }
        }
        let inventory = try CacheInventory(
            files, complete: shape, world: session.world, expected: expected)
        guard !isPlaced(needs, inventory) else { return }
        let mover = Redistribution(
            inventory, from: files, to: try session.world.agree { try create(shape) }, thread: thread,
            ledger: session.ledger, over: channel)
        self.mover = mover
        let largest = try needs.flatMap { _, dataset, samples in
            let builder = try session.builder(dataset)
            return samples.map { mover.byteCount($0.sample, builder) }
        }.max()
        guard try mover.fit(into: room, largestSample: largest ?? 0) else { return }
        for (split, _, samples) in needs {
            owners[split] = Dictionary(uniqueKeysWithValues: samples.map { ($0.sample, $0.owner) })
        }
    }

    /// Gives every rank all layers of the samples that it owns. Collective over the world.
    ///
    /// - Parameter isWhole: whether these are all samples of the data; nil for files of a window, which get no name.
    /// - Returns: the bytes that this rank received.
    func redistribute(_ needs: Needs, isWhole: Bool?) throws -> Int {
        let name = directory.cacheFile(rank: session.world.rank)
        let inventory = try inventory()
        // Beside files of an earlier launch, the one of the stage may hold a part only: then all is put together.
        let isSingle = stageFile == nil || files.count == 1
        let canStay = try session.world.allReduceMax(Int64(isSingle ? 0 : 1)) == 0
        guard mover != nil || !(canStay && isPlaced(needs, inventory)) else {
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
        let mover =
            try self.mover
            ?? Redistribution(
                inventory, from: files, to: try session.world.agree { try create(shape) }, thread: thread,
                ledger: session.ledger, over: channel)
        self.mover = nil
        try mover.finish()
        mover.inventory = inventory
        for (split, dataset, samples) in needs {
            try mover.move(
                split, samples.filter { !mover.hasShipped(split, $0.sample) }, dataset: dataset,
                builder: try session.builder(dataset))
        }
        let target = mover.target
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
        return mover.receivedBytes
    }

    /// Gives up what moves while the stages compute, after a failure of all ranks: none may end while the library still works
    /// for another. Collective over the world.
    func abandonMoving() throws { try mover?.abandon() }

    /// Whether every rank can read the samples that it owns from one file of its own.
    private func isPlaced(_ needs: Needs, _ inventory: CacheInventory) -> Bool {
        needs.allSatisfy { split, _, samples in
            (0..<session.world.size).allSatisfy { rank in
                inventory.isPlaced(
                    split, samples.filter { $0.owner == rank }.map(\.sample), on: rank, fromOne: !isReplay)
            }
        }
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
