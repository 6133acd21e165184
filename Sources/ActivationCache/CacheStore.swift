import MPI
import Models
import Plans
import Stages
import Support
import TensorCore
import TextData

/// This rank's part of the activation cache over a run: filled in the first epoch, or found where an earlier launch left
/// it, redistributed, read by the cached epochs, removed at the end unless it is kept.
package final class CacheStore {
    package let thread: IOThread
    private let channel: Redistribution.Channel
    private let context: RankContext
    package let contents: CacheContents
    private let directory: CacheDirectory
    /// Whether the files that were there belong to another run, which keeps them.
    private let isReplay: Bool
    /// All layers that the side network reads.
    package let shape: CacheShape
    /// The files that this rank can read, those of an earlier launch first.
    package private(set) var files: [ActivationCacheFile] = []
    /// How many of `files` an earlier launch left.
    private let survivorCount: Int
    /// Where this rank writes what its stage computes.
    private var stageFile: ActivationCacheFile?
    /// Samples that this rank's stage need not write, as an earlier launch did.
    private var known: [Split: Set<Int>] = [:]
    /// The samples that there is room for; all of a split that is not named.
    package var resident: [Split: Set<Int>] = [:]
    /// Moves activations while the stages compute; nil where none have to move, and when all have.
    private var mover: Redistribution?
    /// The rank that will train each sample that moves while the stages compute.
    private var owners: [Split: [Int: Int]] = [:]
    private var paths: Set<String> = []

    /// How cache files that exist already are used.
    package enum Earlier {
        /// There are none: the run is new.
        case none
        /// Their complete samples are used; missing samples are computed again.
        case reused
        /// They are the kept cache of an earlier run and must be complete: a damaged file is an error, and none is changed
        /// or removed.
        case kept(CacheDirectory)
    }

    /// Opens the files that exist. Collective over the world.
    ///
    /// - Throws: on all ranks, when a file belongs to another model, tokenizer, data set, length or precision.
    package convenience init(
        _ contents: CacheContents, _ directory: CacheDirectory, earlier: Earlier, on context: RankContext
    ) throws {
        try self.init(
            contents, directory, earlier: earlier, on: context, thread: try IOThread(),
            channel: try Redistribution.Channel(context.world))
    }

    /// A store for the activations of some mini-batches, while they are trained. Collective over the world.
    package func makeWindow() throws -> CacheStore {
        try CacheStore(
            contents, directory, earlier: .none, on: context, thread: thread, channel: channel)
    }

    private init(
        _ contents: CacheContents, _ directory: CacheDirectory, earlier: Earlier, on context: RankContext,
        thread: IOThread, channel: Redistribution.Channel
    ) throws {
        self.context = context
        self.channel = channel
        self.contents = contents
        self.directory = directory
        shape = contents.complete
        self.thread = thread
        let (source, isLenient, isReplay) =
            switch earlier {
            case .none: (CacheDirectory?.none, false, false)
            case .reused: (directory, true, false)
            case .kept(let other): (other, false, true)
            }
        self.isReplay = isReplay
        let found = try context.world.agree { () -> [ActivationCacheFile] in
            if !isReplay { try directory.make() }
            return try source.map {
                try EarlierFiles(contents, areReplaceable: isLenient).open(in: $0, thread)
            } ?? []
        }
        files = found
        survivorCount = found.count
        if !isReplay { for file in found { paths.insert(file.path) } }
    }

    /// Whether an earlier launch left anything, here or on another rank. Collective over the world.
    package func hasSurvivors() throws -> Bool { try context.world.allReduceMax(Int64(survivorCount)) > 0 }

    /// Which samples lie where. Collective over the world.
    package func inventory() throws -> CacheInventory {
        try CacheInventory(files, complete: shape, world: context.world)
    }

    // MARK: Filling

    /// Creates this rank's file for the layers of its stage. Collective over the world.
    package func beginStage(_ plan: Plan) throws {
        let rank = context.rank
        try context.world.agree {
            guard let stage = plan.stageIndex(ofRank: rank) else { return }
            let file = try create(contents.shape(of: plan.stages[stage].layers))
            for split in Split.allCases {
                known[split] = Set(files.filter { $0.shape == file.shape }.flatMap { $0.samples(split) })
            }
            stageFile = file
            files.append(file)
        }
    }

    /// Takes the activations of a split as they are made; nil for a split that no cached epoch reads.
    package func filling(_ split: Split) -> CacheFilling? {
        guard keeps(split), let samples = contents.samples[split] else { return nil }
        let recorder = stageFile.map { file in
            CacheRecorder(
                file, split, samples.dataset, thread: thread, ledger: context.ledger, trace: context.trace,
                isKnown: { [self] in !isRecorded(split, $0) })
        }
        guard let mover, let owners = owners[split] else { return CacheFilling(recorder) }
        return CacheFilling(recorder, mover) { passed in
            // What an earlier launch has lost is not expected: it moves when all that is missing has been computed.
            let needed = passed.compactMap { sample in owners[sample].map { (sample: sample, owner: $0) } }
                .filter { mover.knows(split, $0) }
            mover.ship(split, needed, samples)
        }
    }

    /// Whether this rank's stage writes a sample that it computes.
    private func isRecorded(_ split: Split, _ sample: Int) -> Bool {
        !(known[split]?.contains(sample) ?? false) && (resident[split]?.contains(sample) ?? true)
    }

    /// Whether cached epochs read a split's activations, and there is room for any of them.
    package func keeps(_ split: Split) -> Bool {
        (split == .train || contents.readsValidation) && resident[split]?.isEmpty != true
    }

    // MARK: Redistributing

    /// What a rank trains: the samples of each split, with the rank that owns each.
    package typealias Needs = [(split: Split, samples: [Redistribution.Owned])]

    /// Prepares to move activations while the stages still compute, if any must move and there is room for the messages.
    /// Otherwise they move when all are computed. Collective over the world.
    ///
    /// - Parameters: `passing` are the mini-batches of each split that the stages are about to compute, in their order;
    ///   `room` is what this rank can spare.
    package func beginMoving(_ needs: Needs, passing: [Split: [[Int]]], plan: Plan, room: Int) throws {
        let rank = context.rank
        let place = Placement(plan, rank: rank)
        let expected = passing.reduce(into: [Split: [Int]]()) { expected, entry in
            let (split, miniBatches) = entry
            guard let place, stageFile != nil else { return }
            let sequence = MicroBatchSequence(miniBatches, place)
            expected[split] = (0..<sequence.count).flatMap(sequence.samples).filter { isRecorded(split, $0) }
        }
        let inventory = try CacheInventory(
            files, complete: shape, world: context.world, expected: expected)
        guard !isPlaced(needs, inventory) else { return }
        let mover = Redistribution(
            inventory, from: files, to: try context.world.agree { try create(shape) }, thread: thread,
            ledger: context.ledger, over: channel)
        self.mover = mover
        let largest = needs.flatMap { split, samples in
            samples.map { mover.byteCount($0.sample, contents.samples[split]!.builder) }
        }.max()
        guard try mover.fit(into: room, largestSample: largest ?? 0) else { return }
        for (split, samples) in needs {
            owners[split] = Dictionary(uniqueKeysWithValues: samples.map { ($0.sample, $0.owner) })
        }
    }

    /// Gives every rank all layers of the samples that it owns. Collective over the world.
    ///
    /// - Parameter isWhole: whether these are all samples of the data; nil for files of a window, which get no name.
    /// - Returns: the bytes that this rank received.
    package func redistribute(_ needs: Needs, isWhole: Bool?) throws -> Int {
        let name = directory.file(rank: context.rank)
        let inventory = try inventory()
        // Beside files of an earlier launch, the one of the stage may hold a part only: then all is put together.
        let isSingle = stageFile == nil || files.count == 1
        let canStay = try context.world.allReduceMax(Int64(isSingle ? 0 : 1)) == 0
        guard mover != nil || !(canStay && isPlaced(needs, inventory)) else {
            try context.world.agree {
                guard let stageFile, let isWhole else { return }
                try onThread(stageFile) {
                    try $0.complete(isWhole: isWhole)
                    try $0.rename(to: name)
                }
                paths.insert(stageFile.path)
            }
            return 0
        }
        if isReplay { try context.world.agree { try directory.make() } }
        // The new file is renamed when it is complete; until then an older file keeps the name.
        let mover =
            try self.mover
            ?? Redistribution(
                inventory, from: files, to: try context.world.agree { try create(shape) }, thread: thread,
                ledger: context.ledger, over: channel)
        self.mover = nil
        try mover.finish()
        mover.inventory = inventory
        for (split, samples) in needs {
            try mover.move(
                split, samples.filter { !mover.hasShipped(split, $0.sample) }, contents.samples[split]!)
        }
        let target = mover.target
        // Nothing old is touched before all ranks have the new on their disks.
        if let isWhole {
            try context.world.agree { try onThread(target) { try $0.complete(isWhole: isWhole) } }
        }
        try context.world.agree {
            for file in files {
                let isCustodian = !isReplay && inventory.isCustodian(context.rank, of: file.identifier)
                try onThread(file) { isCustodian ? try $0.discard() : try $0.close() }
            }
        }
        // Only when all that is old is gone: its custodian may be another rank, and the name the same.
        try context.world.agree {
            if isWhole != nil { try onThread(target) { try $0.rename(to: name) } }
        }
        paths.insert(target.path)
        files = [target]
        stageFile = nil
        return mover.receivedBytes
    }

    /// Gives up what moves while the stages compute, after a failure of all ranks: none may end while the library still works
    /// for another. Collective over the world.
    package func abandonMoving() throws { try mover?.abandon() }

    /// Whether every rank can read the samples that it owns from one file of its own.
    private func isPlaced(_ needs: Needs, _ inventory: CacheInventory) -> Bool {
        needs.allSatisfy { split, samples in
            (0..<context.world.size).allSatisfy { rank in
                inventory.isPlaced(
                    split, samples.filter { $0.owner == rank }.map(\.sample), on: rank, fromOne: !isReplay)
            }
        }
    }

    // MARK: The end

    /// Closes the cache and removes it unless it is kept. Collective over the world.
    package func close(keep: Bool) throws {
        try context.world.agree {
            for file in files { try onThread(file) { try $0.close() } }
            (files, stageFile) = ([], nil)
            thread.stop()
            if !keep { try remove() }
        }
    }

    /// Removes the files of a window. Collective over the world.
    package func discard() throws {
        try context.world.agree { for file in files { try onThread(file) { try $0.discard() } } }
        files = []
    }

    /// Removes this rank's files. Not collective.
    package func remove() throws {
        for path in paths { try removeFile(path) }
        if context.rank == 0, !isReplay {
            for name in CacheDirectory.tensorNames { try removeFile(directory.tensors(name)) }
        }
        directory.removeIfEmpty()
    }

    /// Saves what was written, when this rank ends alone. Not collective.
    package func flush() throws {
        if let stageFile { try onThread(stageFile) { try $0.flush() } }
    }

    private func create(_ shape: CacheShape) throws -> ActivationCacheFile {
        let (rank, size) = (context.rank, context.world.size)
        let path = directory.freePart(rank: rank)
        paths.insert(path)
        let identity = contents.identity
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
