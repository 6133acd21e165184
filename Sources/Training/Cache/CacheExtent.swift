import MPI
import Models
import Plans
import Reporting
import Support
import TextData

/// How much of the data the cache holds, where the disks have no room for all of it.
///
/// What does not fit is computed again in every later epoch: a window of mini-batches at a time, whose activations lie on
/// the disk only while they are trained.
struct CacheExtent: Equatable {
    /// Mini-batches of the first epoch whose samples stay.
    let residentSteps: Int
    /// Mini-batches of the first epoch, and samples in them.
    let stepCount: Int
    /// Whether the validation split stays.
    let keepsValidation: Bool
    /// Bytes that a window may take on each rank.
    let windowBytes: Int

    /// Bytes that all samples would take, on all ranks.
    let wantedBytes: Int

    /// Whether everything stays.
    var isWhole: Bool { residentSteps == stepCount && keepsValidation }

    /// Bytes that one rank's files would take.
    struct Need: Equatable {
        /// For the validation split.
        var validation = 0
        /// For each mini-batch of the first epoch.
        var steps: [Int]

        var total: Int { validation + steps.reduce(0, +) }
    }

    /// The share of a small disk that windows use.
    private static let windowShare = 4

    /// Fits the cache to what each rank may use: the same first mini-batches on all of them.
    ///
    /// - Parameters:
    ///   - needs: by rank.
    ///   - budgets: bytes of each rank.
    ///   - largestWindow: bytes that the largest mini-batch takes on any rank.
    /// - Throws: a configuration failure, when not even one mini-batch has room.
    init(needs: [Need], budgets: [Int], hosts: [String], largestWindow: Int) throws {
        stepCount = needs[0].steps.count
        wantedBytes = needs.reduce(0) { $0 + $1.total }
        guard zip(needs, budgets).contains(where: { $0.total > $1 }) else {
            (residentSteps, keepsValidation, windowBytes) = (stepCount, true, 0)
            return
        }
        let smallest = budgets.min()!
        guard smallest >= Self.windowShare * largestWindow else {
            let rank = budgets.firstIndex(of: smallest)!
            throw Failure.configuration(
                "cache.budget_bytes: expected room for at least \(Self.windowShare * largestWindow) bytes on rank \(rank) "
                    + "(\(hosts[rank])), four times the largest mini-batch, found \(smallest); all samples would need "
                    + "\(needs[rank].total)")
        }
        windowBytes = smallest / Self.windowShare
        let window = windowBytes
        let keeps = zip(needs, budgets).allSatisfy { $0.validation <= $1 / Self.windowShare }
        keepsValidation = keeps
        residentSteps = zip(needs, budgets).map { need, budget in
            var room = budget - window - (keeps ? need.validation : 0)
            var count = 0
            // The first that does not fit ends it: whole mini-batches, in order.
            for bytes in need.steps {
                guard bytes <= room else { break }
                room -= bytes
                count += 1
            }
            return count
        }.min()!
    }

    /// Cuts mini-batches into windows whose samples have room, one at least in each.
    ///
    /// - Parameter bytes: that a mini-batch's samples that are not resident take, on the rank where they take the most.
    func windows(_ miniBatches: [[Int]], bytes: ([Int]) -> Int) -> [Range<Int>] {
        guard !isWhole else { return miniBatches.isEmpty ? [] : [0..<miniBatches.count] }
        var windows: [Range<Int>] = []
        var start = 0
        var used = 0
        for (index, samples) in miniBatches.enumerated() {
            let size = bytes(samples)
            if index > start, used + size > windowBytes {
                windows.append(start..<index)
                (start, used) = (index, 0)
            }
            used += size
        }
        if start < miniBatches.count { windows.append(start..<miniBatches.count) }
        return windows
    }
}

extension CacheExtent {
    /// Fits the cache of a run to its disks. Collective over the world.
    ///
    /// - Parameter plannedSteps: updates of the run; what it never trains is not kept.
    init(
        _ session: Session, _ choice: PlanChooser.Choice, _ directory: RunDirectory,
        _ technique: ParallelAdapters,
        plannedSteps: Int
    ) throws {
        let footprint = try CacheFootprint(session, choice, technique)
        let world = session.world.size
        var needs = [Need](repeating: Need(steps: []), count: world)
        var largest = 0
        let train = session.train!
        let builder = try session.builder(train)
        let isShuffled = session.experiment.training.isShuffled
        for samples in session.order(sampleCount: train.count, isShuffled: isShuffled).miniBatches(epoch: 1)
            .prefix(plannedSteps)
        {
            let bytes = footprint.bytes(Array(samples.enumerated()), builder)
            for rank in 0..<world { needs[rank].steps.append(bytes[rank]) }
            largest = max(largest, bytes.max()!)
        }
        if let validation = session.validation, !session.validatesByWriting {
            let builder = try session.builder(validation)
            for samples in session.order(sampleCount: validation.count, isShuffled: false).miniBatches(
                epoch: 1)
            {
                let bytes = footprint.bytes(Array(samples.enumerated()), builder)
                for rank in 0..<world { needs[rank].validation += bytes[rank] }
            }
        }
        let (budgets, hosts) = try Self.budgets(session, directory)
        do {
            try self.init(needs: needs, budgets: budgets, hosts: hosts, largestWindow: largest)
        } catch let failure as Failure {
            throw failure.shared
        }
    }

    /// What a person should know of a cache that is not whole; nil of a whole one.
    var note: String? {
        guard !isWhole else { return nil }
        return "the cache of all samples would take \(Format.bytes(wantedBytes)), more than the disks have: "
            + "\(Format.percent(Double(residentSteps) / Double(stepCount))) of the training samples stay"
            + (keepsValidation ? "" : " and none of the validation")
            + ", the others are computed again in every epoch"
    }

    /// What the files of each rank may take: the experiment's budget, or of the free space of its disk an equal part for each
    /// rank of the host that uses it. Collective over the world.
    private static func budgets(_ session: Session, _ directory: RunDirectory) throws -> (
        bytes: [Int], hosts: [String]
    ) {
        let own = try session.world.agree { () -> String in
            let disk = try FileSystem(at: directory.cachePath)
            // What an earlier launch left there is this run's own.
            let held = try directory.cacheFiles().reduce(0) { $0 + fileSize($1) }
            return "\(MPIEnvironment.processorName)\n\(disk.identifier)\n\(disk.freeBytes + held)"
        }
        let disks = try session.world.allGather(Array(own.utf8)).map { bytes in
            String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        }
        let hosts = disks.map { $0[0] }
        let budget = session.experiment.cache.budget
        try session.world.agree { try budget?.check(hosts, key: "cache.budget_bytes") }
        let bytes = disks.map { disk -> Int in
            let sharing = disks.filter { $0[0] == disk[0] && $0[1] == disk[1] }.count
            // The last twentieth of a disk is for everything else.
            let free: Int = Int(disk[2])! / 20 * 19 / sharing
            // A file system that has no numbers (procfs) says 0; whoever writes to a full one is told by the system.
            if Int(disk[2])! == 0, budget == nil { return Int.max }
            // A budget is taken at its word: what a file system says is free is not always true.
            return budget?.bytes(onHost: disk[0]) ?? free
        }
        return (bytes, hosts)
    }
}

/// Bytes that samples take on each rank's disk: where they are computed and where they are trained.
struct CacheFootprint {
    private let worldSize: Int
    private let owners: [Int]
    /// By slot and stage, the rank that computes.
    private let computers: [[Int]]
    private let shapes: [CacheShape]
    private let complete: CacheShape
    private let numberBytes: Int
    /// Whether what is computed has to move before it is trained.
    private let moves: Bool

    init(_ session: Session, _ choice: PlanChooser.Choice, _ technique: ParallelAdapters) throws {
        let (plan, family) = (choice.plan, session.model.family)
        worldSize = session.world.size
        owners = choice.owners
        let computers = owners.indices.map { slot in
            plan.stages.indices.map { plan.stages[$0].ranks[plan.position(ofSlot: slot, stage: $0)] }
        }
        self.computers = computers
        shapes = try plan.stages.map {
            try CacheShape(family, technique, steps: family.steps(of: $0.layers))
        }
        complete = try CacheShape(
            family, technique, steps: family.steps(of: 0..<family.plannerLayers.count))
        numberBytes = session.experiment.cache.precision.byteCount
        moves =
            plan.stages.count > 1 || choice.owners.indices.contains { computers[$0] != [choice.owners[$0]] }
    }

    /// Bytes of samples that are computed in a window, on the rank where they take the most: several ranks divide them
    /// otherwise than a mini-batch's slots say, so they move in any case.
    func windowBytes(_ samples: [(offset: Int, element: Int)], _ builder: BatchBuilder) -> Int {
        bytes(samples, builder).max()! * (moves || worldSize == 1 ? 1 : 2)
    }

    /// Bytes of some samples of a mini-batch, by rank.
    func bytes(_ samples: [(offset: Int, element: Int)], _ builder: BatchBuilder) -> [Int] {
        var sums = [Int](repeating: 0, count: worldSize)
        for (slot, sample) in samples {
            func count(_ shape: CacheShape) -> Int {
                // A chunk's rest, tables and ids come on top of the numbers: about a fiftieth.
                shape.floatCount { builder.tokenCount(sample, $0) } * numberBytes * 51 / 50
            }
            for (stage, rank) in computers[slot].enumerated() { sums[rank] += count(shapes[stage]) }
            if moves { sums[owners[slot]] += count(complete) }
        }
        return sums
    }
}
