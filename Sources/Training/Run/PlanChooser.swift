import Cluster
import MPI
import Models
import Plans
import Profiling
import Support
import TensorCore
import TextData

/// Finds the plan of a run: profiles all ranks, plans on rank 0 and tells everyone; or takes the plan that a person wrote.
package enum PlanChooser {
    /// A plan, and the profile it was made from.
    package struct Choice: Sendable {
        package let plan: Plan
        /// nil when the experiment brought its own plan.
        package let profile: Profile?
        /// The rank that owns each slot of a mini-batch in epochs from the cache.
        let owners: [Int]
        /// Whether the plan is the one that an earlier launch of the run had.
        let isResumed: Bool

        init(plan: Plan, profile: Profile?, worldSize: Int) {
            self.plan = plan
            self.profile = profile
            owners = plan.cacheOwners(
                speeds: profile?.cachedSpeeds ?? [Double](repeating: 1, count: worldSize))
            isResumed = false
        }

        /// The plan of an earlier launch, if the same hosts resume under the same settings: nothing is measured again, and
        /// the numbers stay the same to the last bit. Collective over the world.
        init?(
            resuming checkpoint: TrainingCheckpoint, _ hosts: [String], _ directory: RunDirectory,
            _ session: Session
        ) throws {
            let now = session.experiment.json
            guard checkpoint.hosts == hosts,
                ["parallelism", "device"].allSatisfy({ checkpoint.experiment[$0] == now[$0] })
            else { return nil }
            plan = try Plan(
                JSONReader(checkpoint.plan, file: directory.checkpointPath),
                miniBatchSize: session.experiment.training.miniBatchSize)
            owners = checkpoint.owners
            let bytes = try session.context.world.fromRoot {
                fileExists(directory.profilePath) ? try readFile(directory.profilePath) : []
            }
            profile =
                bytes.isEmpty
                ? nil
                : try Profile(
                    JSONReader(parsing: bytes, file: directory.profilePath))
            isResumed = true
        }
    }

    /// Measures every rank. Collective over the world.
    package static func profile(_ session: Session) throws -> Profile {
        let lengths = try Lengths(session)
        return try Profiler(
            family: session.model.family, model: session.model.configuration,
            formats: session.model.files.formats(session.model.configuration),
            dropout: session.experiment.training.dropout ?? session.model.family.dropout
        ).run(
            world: session.context.world, sourceLengths: lengths.sources, targetLengths: lengths.targets,
            peakTokens: lengths.peaks, miniBatchSize: session.experiment.training.miniBatchSize,
            memoryBudget: session.memoryBudget)
    }

    /// Reads a profile that was measured before, for this run's order of samples. Collective over the world.
    ///
    /// - Throws: when it is of another model, technique or data, or of other machines than those that run now.
    private static func profile(readFrom path: String, _ session: Session) throws -> Profile {
        let hosts = try HostDescription.gather(session.context.world)
        let lengths = try Lengths(session)
        let resolved = try session.context.world.jsonFromRoot(path) {
            let profile = try Profile(JSONReader(contentsOf: path))
            try profile.check(session.experiment, session.model.configuration)
            try profile.check(hosts)
            guard profile.sampleCount == nil || profile.sampleCount == lengths.sources.count else {
                throw Failure.configuration(
                    "profile: expected the \(lengths.sources.count) samples of \(session.experiment.task.train), found "
                        + "\(profile.sampleCount!)")
            }
            return try profile.with(peakTokens: lengths.peaks).json
        }
        return try Profile(resolved)
    }

    /// How long the samples of a run are.
    private struct Lengths {
        let sources: [Int]
        /// Of a decoder-only model, the rows that a language model's head reads.
        let targets: [Int]
        let peaks: [TokenCounts]
        /// The tokens of each sample of the first epoch, by mini-batch and slot.
        let miniBatches: [[Int]]

        init(_ session: Session) throws {
            let samples = session.data.train!
            let (builder, family) = (samples.builder, session.model.family)
            func lengths(_ stack: StackKind) -> [Int] {
                (0..<samples.count).map { builder.tokenCount($0, stack) }
            }
            let experiment = session.experiment
            sources = lengths(family.stacks[0].kind)
            targets =
                family.stacks.count > 1
                ? lengths(.decoder)
                : session.data.headKind == .languageModel
                    ? (0..<samples.count).map { builder.termCount([$0]) } : []
            let order = experiment.training.order(
                sampleCount: samples.count, isShuffled: experiment.training.isShuffled)
            miniBatches = order.miniBatches(epoch: 1).map { [sources] in $0.map { sources[$0] } }
            peaks = PeakTokens.find(
                order,
                // Later epochs of a cached run do not pass through the stages.
                epochs:
                    1...(experiment.fillsCache(sampleCount: samples.count)
                    ? 1 : experiment.training.epochs), sources: sources, targets: targets)
        }
    }

    /// Chooses. Collective over the world; the result is the same on every rank.
    ///
    /// - Throws: when no plan is feasible, or the given one does not fit the model, the world or the mini-batch.
    static func choose(_ session: Session) throws -> Choice {
        let experiment = session.experiment
        let profile =
            experiment.parallelism.system == .plan
            ? nil
            : try experiment.parallelism.profile.map { try Self.profile(readFrom: $0, session) }
                ?? Self.profile(session)
        let layerCount = session.model.family.plannerLayers.count
        let size = experiment.training.miniBatchSize
        let worldSize = session.context.world.size
        let reader = try session.context.world.jsonFromRoot("plan") {
            var plan = try experiment.plan(from: profile)
            try plan.validate(layerCount: layerCount, worldSize: worldSize, miniBatchSize: size)
            if let profile {
                let mean = try experiment.stageCosts(profile).meanStepSeconds(
                    of: plan, miniBatches: Lengths(session).miniBatches)
                plan.predicted?.meanStepSeconds = mean
            }
            return plan.json
        }
        return Choice(plan: try Plan(reader, miniBatchSize: size), profile: profile, worldSize: worldSize)
    }
}

extension Profile {
    /// The profile with what another order of the samples brings together.
    fileprivate func with(peakTokens: [TokenCounts]) throws -> Profile {
        try Profile(
            devices: devices, layers: layers, links: links, meanTokens: meanTokens, sampleCount: sampleCount,
            peakTokens: peakTokens)
    }
}
