import ActivationCache
import Cluster
import Configuration
import MPI
import Models
import Plans
import Stages
import TensorCore
import TextData

/// Which samples the cache of a run must hold, where each is trained, and which of them the stages have still to compute.
struct CacheNeeds {
    private let course: RunCourse
    private let training: Experiment.Training
    private let contents: CacheContents
    /// The rank that trains each slot of a mini-batch.
    private let owners: [Int]
    /// Mini-batches of the first epoch whose samples stay.
    private let residentSteps: Int

    init(
        _ course: RunCourse, _ training: Experiment.Training, _ contents: CacheContents, owners: [Int],
        residentSteps: Int
    ) {
        self.course = course
        self.training = training
        self.contents = contents
        self.owners = owners
        self.residentSteps = residentSteps
    }

    /// The splits that a cache keeps, each with the samples that it needs and the rank that owns each.
    func all(_ store: CacheStore) -> CacheStore.Needs {
        Split.allCases.compactMap { split in
            guard contents.samples[split] != nil, store.keeps(split) else { return nil }
            // Of a run that ends within its first epoch, only what that epoch saw.
            let miniBatches =
                split == .train
                ? Array(course.miniBatches(epoch: 1).prefix(course.plannedSteps))
                : self.miniBatches(of: split)
            let resident = store.resident[split]
            return (split, owned(miniBatches).filter { resident?.contains($0.sample) ?? true })
        }
    }

    /// The mini-batches of each split that a cache keeps which the stages have still to compute, in their order.
    func passing(_ state: TrainingState, _ store: CacheStore) -> [Split: [[Int]]] {
        var passing: [Split: [[Int]]] = [:]
        passing[.train] = Array(course.remainingMiniBatches(epoch: 1, state).prefix(residentSteps))
        if contents.samples[.validation] != nil, store.keeps(.validation) {
            passing[.validation] = miniBatches(of: .validation)
        }
        return passing
    }

    /// The samples of mini-batches, with the rank that owns each.
    func owned(_ miniBatches: [[Int]]) -> [Redistribution.Owned] {
        miniBatches.flatMap { samples in samples.enumerated().map { (sample: $1, owner: owners[$0]) } }
    }

    private func miniBatches(of split: Split) -> [[Int]] {
        training.miniBatches(sampleCount: contents.samples[split]?.count ?? 0)
    }
}

extension Plan {
    /// Bytes that this rank has left beside what its part of the plan takes. Not collective.
    ///
    /// - Parameter budget: of this rank; nil for no limit.
    func spareBytes(_ context: RankContext, budget: Int?) throws -> Int {
        // An eighth: the plan was made for what was free, and others may want of it too.
        let free =
            try HostResources.availableMemoryBytes(rank: context.rank, hosts: context.world.hosts) / 8
        guard let budget else { return free }
        guard let place = Placement(self, rank: context.rank) else {
            return min(free, context.ledger.headroom)
        }
        // What an own plan takes is not known beforehand.
        guard let stage = predicted?.stages[place.stageIndex] else { return 0 }
        return max(0, min(free, budget - stage.memoryBytes[place.position]))
    }
}
