import MPI
import Models
import Planning
import Plans
import Support
import TensorCore
import TextData

/// Finds the plan of a run: profiles all ranks, plans on rank 0 and tells everyone; or takes the plan that a person wrote.
public enum PlanChooser {
    /// A plan, and the profile it was made from.
    public struct Choice: Sendable {
        public let plan: Plan
        /// nil when the experiment brought its own plan.
        public let profile: Profile?
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

        /// The plan of an earlier launch, where the same hosts go on under the same settings: then nothing is measured again,
        /// and the numbers stay the same to the last bit. Collective over the world.
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
            let bytes = try session.world.fromRoot {
                fileExists(directory.profilePath) ? try readFile(directory.profilePath) : []
            }
            profile =
                bytes.isEmpty
                ? nil
                : try Profile(
                    JSONReader(
                        JSONValue(parsing: bytes, file: directory.profilePath), file: directory.profilePath))
            isResumed = true
        }
    }

    /// Measures every rank. Collective over the world.
    public static func profile(_ session: Session) throws -> Profile {
        let lengths = try Lengths(session)
        return try Profiler(
            family: session.model.family, model: session.modelConfiguration,
            dropout: session.experiment.training.dropout ?? session.model.family.dropout
        ).run(
            world: session.world, sourceLengths: lengths.sources, targetLengths: lengths.targets,
            peakTokens: lengths.peaks, miniBatchSize: session.experiment.training.miniBatchSize,
            memoryBudget: session.memoryBudget)
    }

    /// Reads a profile that was measured before, for this run's order of samples. Collective over the world.
    ///
    /// - Throws: when it is of another model, technique or data, or of other machines than those that run now.
    private static func profile(readFrom path: String, _ session: Session) throws -> Profile {
        let hosts = try HostDescription.gather(session.world)
        let lengths = try Lengths(session)
        let bytes = try session.world.fromRoot {
            let profile = try Profile(JSONReader(JSONValue(contentsOf: path), file: path))
            try profile.check(session.experiment, session.modelConfiguration)
            try profile.check(hosts)
            guard profile.sampleCount == nil || profile.sampleCount == lengths.sources.count else {
                throw Failure.configuration(
                    "profile: expected the \(lengths.sources.count) samples of \(session.experiment.task.train), found "
                        + "\(profile.sampleCount!)")
            }
            return Array(try profile.with(peakTokens: lengths.peaks).json.text().utf8)
        }
        return try Profile(JSONReader(JSONValue(parsing: bytes, file: path), file: path))
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
            let dataset = session.train!
            let family = session.model.family
            let builder = try session.builder(dataset)
            func lengths(_ stack: StackKind) -> [Int] {
                (0..<dataset.count).map { builder.tokenCount($0, stack) }
            }
            let experiment = session.experiment
            sources = lengths(family.stacks[0].kind)
            targets =
                family.stacks.count > 1
                ? lengths(.decoder)
                : session.headKind == .languageModel
                    ? (0..<dataset.count).map { builder.termCount([$0]) } : []
            let order = session.order(sampleCount: dataset.count, isShuffled: experiment.training.isShuffled)
            miniBatches = order.miniBatches(epoch: 1).map { [sources] in $0.map { sources[$0] } }
            peaks = PeakTokens.find(
                order,
                // Later epochs of a cached run do not pass through the stages.
                epochs:
                    1...(experiment.fillsCache(sampleCount: dataset.count)
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
        let worldSize = session.world.size
        let bytes = try session.world.fromRoot {
            var plan = try Self.plan(experiment, profile)
            try plan.validate(layerCount: layerCount, worldSize: worldSize, miniBatchSize: size)
            if let profile {
                let mean = try costs(experiment, profile).meanStepSeconds(
                    of: plan, miniBatches: Lengths(session).miniBatches)
                plan.predicted?.meanStepSeconds = mean
            }
            return Array(plan.json.text().utf8)
        }
        let reader = JSONReader(try JSONValue(parsing: bytes, file: "plan"), file: "plan")
        return Choice(plan: try Plan(reader, miniBatchSize: size), profile: profile, worldSize: worldSize)
    }

    /// What stages of a run cost.
    public static func costs(_ experiment: Experiment, _ profile: Profile) -> StageCosts {
        StageCosts(
            profile: profile, memory: memoryModel(experiment, profile), schedule: experiment.pipelineSchedule)
    }

    /// The memory of this program under the experiment's optimizer.
    private static func memoryModel(_ experiment: Experiment, _ profile: Profile?) -> MemoryModel {
        MemoryModel(
            optimizerStateMultiple: experiment.training.optimizer == .adamw ? 2 : 0,
            fillsCache: experiment.fillsCache(sampleCount: profile?.sampleCount))
    }

    /// Plans with the experiment's planner; the failure that is returned says why no plan is feasible. Not collective.
    static func search(_ experiment: Experiment, _ profile: Profile) throws -> Result<Plan, Failure> {
        let training = experiment.training
        return try Planner(
            kind: experiment.parallelism.planner, profile: withBudgets(profile, experiment),
            memory: memoryModel(experiment, profile), schedule: experiment.pipelineSchedule
        ).search(miniBatchSize: training.miniBatchSize, microBatchCount: training.microBatchCount)
    }

    private static func withBudgets(_ profile: Profile, _ experiment: Experiment) throws -> Profile {
        try profile.with(memoryBudget: experiment.device.memoryBudget).withinMemory()
    }

    /// Plans from a profile, or reads the experiment's own plan. Not collective.
    public static func plan(_ experiment: Experiment, _ profile: Profile?) throws -> Plan {
        let training = experiment.training
        let budgeted = try profile.map { try withBudgets($0, experiment) }
        let schedule = experiment.pipelineSchedule
        let (size, count) = (training.miniBatchSize, training.microBatchCount)
        let memory = memoryModel(experiment, profile)
        switch experiment.parallelism.system {
        case .plan:
            return try Plan(experiment.parallelism.plan!, miniBatchSize: size)
        case .pac:
            return try search(experiment, profile!).get()
        case .standalone:
            return try BaselinePlans.standalone(
                profile: budgeted!, miniBatchSize: size, microBatchCount: count, memory: memory,
                schedule: schedule)
        case .eddl:
            return try BaselinePlans.eddl(
                profile: budgeted!, miniBatchSize: size, microBatchCount: count, memory: memory,
                schedule: schedule)
        case .ecoFL:
            return try BaselinePlans.ecoFL(
                profile: budgeted!, miniBatchSize: size, microBatchCount: count, memory: memory,
                schedule: schedule)
        }
    }
}

extension Profile {
    /// The profile with the experiment's memory budgets in place of those it was measured under; nil keeps them.
    fileprivate func with(memoryBudget: ByteBudget?) throws -> Profile {
        guard let memoryBudget else { return self }
        try memoryBudget.check(devices.map(\.host), key: "device.memory_budget_bytes")
        let budgeted = devices.map { device in
            var device = device
            device.memoryBudgetBytes = memoryBudget.bytes(onHost: device.host)
            return device
        }
        return try Profile(
            devices: budgeted, layers: layers, links: links, meanTokens: meanTokens,
            sampleCount: sampleCount, peakTokens: peakTokens)
    }

    /// The profile with a budget for every device that has none: its part of what was free on its host, less a fifth for
    /// what the program does not count. A plan that needs more would end with the kernel killing somebody.
    fileprivate func withinMemory() throws -> Profile {
        let bounded = devices.map { device in
            var device = device
            let sharing = devices.filter { $0.host == device.host }.count
            if device.memoryBudgetBytes == nil {
                device.memoryBudgetBytes = max(1, device.memoryBytes / sharing / 5 * 4)
            }
            return device
        }
        return try Profile(
            devices: bounded, layers: layers, links: links, meanTokens: meanTokens, sampleCount: sampleCount,
            peakTokens: peakTokens)
    }

    /// The profile with what another order of the samples brings together.
    fileprivate func with(peakTokens: [TokenCounts]) throws -> Profile {
        try Profile(
            devices: devices, layers: layers, links: links, meanTokens: meanTokens, sampleCount: sampleCount,
            peakTokens: peakTokens)
    }
}
