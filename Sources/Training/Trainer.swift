import MPI
import Models
import Planning
import Reporting
import Support
import TensorCore
import TextData

/// One run: plan, first epoch through the stages while the cache fills, redistribution, cached epochs, evaluation, saved
/// adapter.
public final class Trainer {
    private let session: Session
    private let directory: RunDirectory
    private let choice: PlanChooser.Choice
    private let reporter: RunReporter
    private let family: any ModelFamily
    private let train: TokenizedDataset

    /// What a run ended with, on rank 0.
    public struct Summary: Sendable {
        public let directory: String
        public let adapter: String
        public let metrics: Metrics?
        public let seconds: Double
    }

    /// Profiles, plans and opens the run directory. Collective over the world.
    public init(_ session: Session, overwrite: Bool) throws {
        self.session = session
        family = session.model.family
        guard let train = session.train else { preconditionFailure("training needs the training data") }
        self.train = train
        directory = try RunDirectory.make(session.experiment, overwrite: overwrite, world: session.world)
        let hosts = try HostDescription.gather(session.world)
        do {
            choice = try PlanChooser.choose(session)
        } catch {
            if session.world.rank == 0 { try directory.discard() }
            throw error
        }
        let (directory, choice) = (self.directory, self.choice)
        let isRoot = session.world.rank == 0
        reporter = try session.world.agree { try RunReporter(directory: isRoot ? directory.path : nil) }
        reporter.peakBytes = { session.ledger.peakTotalBytes }
        try session.world.agree {
            guard isRoot else { return }
            try writeFileAtomically(
                choice.plan.json.text(indented: true) + "\n", to: directory.path + "/plan.json")
            if let profile = choice.profile {
                try writeFileAtomically(
                    profile.json.text(indented: true) + "\n", to: directory.path + "/profile.json")
            }
            try RunHeader(session: session, choice: choice, hosts: hosts, directory: directory).write(
                reporter)
        }
    }

    /// Trains. Collective over the world.
    public func run() throws -> Summary {
        let experiment = session.experiment
        let stepsPerEpoch = session.order(sampleCount: train.count, isShuffled: false).stepCount
        let usesCache =
            experiment.cache.isEnabled && (experiment.training.epochs > 1 || experiment.cache.keep)
        MemoryReport.reset(session)
        let pipeline = try PipelinePhase(session, choice.plan)
        let residual = try pipeline.initialize()
        let state = TrainingState(
            experiment, parameterCount: pipeline.model?.parameters.count ?? 0, stepsPerEpoch: stepsPerEpoch,
            ledger: session.ledger)
        let pipelineSteps = usesCache ? min(stepsPerEpoch, state.plannedSteps) : state.plannedSteps
        reporter.expect(
            pipelineSteps: pipelineSteps, cachedSteps: state.plannedSteps - pipelineSteps,
            epochs: experiment.training.epochs)

        var metrics: Metrics?
        var stepCount = 0
        if usesCache {
            (metrics, stepCount) = try trainWithCache(pipeline, state, residual)
        } else {
            for epoch in 1...experiment.training.epochs where !state.isFinished {
                metrics = try pipelineEpoch(epoch, pipeline, state, cache: nil) ?? metrics
                try save(try complete(from: pipeline, state: nil).model)
            }
            try MemoryReport.log(.pipeline, session, reporter)
            stepCount = state.completedSteps
        }
        try reporter.event(
            "end", [("seconds", JSONValue(reporter.seconds)), ("steps", JSONValue(stepCount))])
        return Summary(
            directory: directory.path, adapter: adapterPath, metrics: metrics, seconds: reporter.seconds)
    }

    // MARK: Phases

    /// The first epoch with the backbone, the others from the cache.
    ///
    /// - Returns: the last metrics, on rank 0, and the number of updates.
    private func trainWithCache(
        _ pipeline: PipelinePhase, _ state: TrainingState, _ residual: [Int]
    ) throws -> (Metrics?, Int) {
        let initial = try initialSideTensors(pipeline)
        let store = try CacheStore(session, choice.plan, directory)
        var metrics = try pipelineEpoch(1, pipeline, state, cache: store)
        try MemoryReport.log(.pipeline, session, reporter)

        let start = MonotonicClock.seconds
        let owners = CachedPhase.owners(choice.plan, speeds: choice.speeds(worldSize: session.world.size))
        let (file, bytes) = try store.redistribute(owners: owners)
        let (complete, cachedState) = try self.complete(from: pipeline, state: state)
        let moved = try session.world.allReduceSum(Int64(bytes))
        try session.world.agree { try store.saveCompanions(complete, residual: residual, initial: initial) }
        let before = session.ledger.live(.weights)
        pipeline.model?.releaseBackbone()
        session.model.release()
        MemoryReport.reset(session)
        let seconds = MonotonicClock.seconds - start
        reporter.note(
            "redistributed \(Format.bytes(Int(moved))) in \(Format.duration(seconds)); backbone released: weights "
                + "\(Format.bytes(before)) -> \(Format.bytes(session.ledger.live(.weights)))")
        try reporter.event(
            "redistribution", [("bytes", JSONValue(Int(moved))), ("seconds", JSONValue(seconds))])
        try save(complete)

        let cached = CachedPhase(session, complete, file, thread: store.thread, owners: owners)
        if session.experiment.training.epochs > 1 {
            for epoch in 2...session.experiment.training.epochs where !cachedState.isFinished {
                let start = MonotonicClock.seconds
                let waited = try cached.trainEpoch(epoch, train, cachedState, reporter: reporter)
                try reporter.epoch(
                    epoch, phase: .cached, seconds: MonotonicClock.seconds - start, waitedForDisk: waited)
                if let validation = session.validation {
                    let start = MonotonicClock.seconds
                    let predictions =
                        session.headKind == .languageModel
                        ? try predictThroughStages(pipeline, complete, validation)
                        : try cached.predict(validation)
                    metrics = try evaluate(predictions, validation, epoch, since: start) ?? metrics
                }
                try save(complete)
            }
            try MemoryReport.log(.cached, session, reporter)
        }
        try store.close(keep: session.experiment.cache.keep)
        return (metrics, cachedState.completedSteps)
    }

    /// One epoch with the backbone, and the evaluation after it.
    private func pipelineEpoch(
        _ epoch: Int, _ pipeline: PipelinePhase, _ state: TrainingState, cache: CacheStore?
    ) throws -> Metrics? {
        let start = MonotonicClock.seconds
        try pipeline.trainEpoch(
            epoch, train, state, recorder: cache?.recorder(.train, train), reporter: reporter)
        try reporter.epoch(epoch, phase: .pipeline, seconds: MonotonicClock.seconds - start)
        guard let validation = session.validation else { return nil }
        let evaluationStart = MonotonicClock.seconds
        let predictions = try pipeline.predict(
            validation, recorder: cache?.recorder(.validation, validation), maximumLength: generationLength)
        return try evaluate(predictions, validation, epoch, since: evaluationStart)
    }

    /// Evaluates with the backbone between cached epochs: each stage maps its slice again and releases it after.
    private func predictThroughStages(
        _ pipeline: PipelinePhase, _ complete: StageModel, _ dataset: TokenizedDataset
    ) throws -> Predictions? {
        try session.world.agree {
            if let model = pipeline.model {
                ParameterGathering.scatter(from: complete, into: model)
                try model.restoreBackbone(from: session.model.frozenSource(session.ledger))
            }
        }
        defer {
            pipeline.model?.releaseBackbone()
            session.model.release()
        }
        return try pipeline.predict(dataset, recorder: nil, maximumLength: generationLength)
    }

    private func evaluate(
        _ predictions: Predictions?, _ dataset: TokenizedDataset, _ epoch: Int, since start: Double
    ) throws -> Metrics? {
        var metrics: Metrics?
        try session.world.agree {
            guard let predictions, let task = session.task else { return }
            let measured = try predictions.metrics(task, dataset)
            try reporter.evaluation(
                epoch, measured, samples: dataset.count, seconds: MonotonicClock.seconds - start)
            metrics = measured
        }
        return metrics
    }

    // MARK: Parameters

    /// The model of all steps without a backbone, with every stage's values and, given a state, one that goes on where it
    /// stands. Collective over the world.
    private func complete(from pipeline: PipelinePhase, state: TrainingState?) throws -> (
        model: StageModel, state: TrainingState
    ) {
        let complete = try session.world.agree {
            try StageModel(
                family, session.modelConfiguration, steps: family.steps(of: 0..<family.plannerLayers.count),
                frozen: CopyingSource(session.model.frozenSource(Ledger()), ledger: session.ledger),
                withBackbone: false, ledger: session.ledger)
        }
        let next = TrainingState(
            session.experiment, parameterCount: state == nil ? 0 : complete.parameters.count,
            stepsPerEpoch: session.order(sampleCount: train.count, isShuffled: false).stepCount,
            ledger: session.ledger, completedSteps: state?.completedSteps ?? 0)
        try ParameterGathering.gather(
            into: complete, from: pipeline.model, plan: choice.plan, session: session,
            optimizers: state.map { (own: $0.optimizer, complete: next.optimizer) })
        next.optimizer.restore(stepCount: next.completedSteps)
        return (complete, next)
    }

    /// The side network's tensors before the first step, on every rank. Collective over the world.
    private func initialSideTensors(_ pipeline: PipelinePhase) throws -> [(
        name: String, shape: [Int], values: [Float]
    )] {
        let complete = try complete(from: pipeline, state: nil).model
        return complete.parameters.declarations.filter { $0.name.hasPrefix("side.") }.map { declaration in
            let range = complete.parameters.range(of: declaration.name)!
            return (declaration.name, declaration.shape, range.map { complete.parameters.values.pointer[$0] })
        }
    }

    private func save(_ complete: StageModel) throws {
        try session.world.agree {
            guard let task = session.task else { return }
            try AdapterDirectory.save(
                complete, to: adapterPath, session: session, task: task,
                maximumGenerationLength: generationLength)
        }
    }

    private var adapterPath: String { directory.path + "/adapter" }

    /// Room for a text somewhat longer than any that was trained on.
    private var generationLength: Int { train.maximumTargetLength + 8 }
}
