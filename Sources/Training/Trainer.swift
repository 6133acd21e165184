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
    private let traceLog: TraceLog
    private let family: any ModelFamily
    private let train: TokenizedDataset
    /// The stages and their optimizer; given up when the cached epochs need them no more.
    private var pipeline: PipelinePhase?
    private var pipelineState: TrainingState?

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
        try RunDirectory.check(session.experiment, world: session.world)
        let hosts = try HostDescription.gather(session.world)
        let choice = try PlanChooser.choose(session)
        self.choice = choice
        // Nothing of an older run is touched before all that can be wrong has been checked.
        let directory = try RunDirectory.make(session.experiment, overwrite: overwrite, world: session.world)
        self.directory = directory
        let isRoot = session.world.rank == 0
        let reporter = try session.world.agree {
            try RunReporter(directory: isRoot ? directory.path : nil, start: session.start)
        }
        self.reporter = reporter
        let host = hosts[session.world.rank].host
        traceLog = try TraceLog(
            session, path: directory.tracePath,
            label: choice.plan.label(ofRank: session.world.rank) + " on \(host)",
            predicted: choice.profile.map {
                Simulator(profile: $0, costs: PlanChooser.costs(session.experiment, $0)).run(choice.plan)
                    .trace
            })
        reporter.peakBytes = { session.ledger.peakTotalBytes }
        try session.world.onRoot {
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
    ///
    /// A run that fails still leaves the trace of what it did: of all ranks when they fail together, otherwise what rank 0
    /// has of its own.
    public func run() throws -> Summary {
        do {
            return try trainToTheEnd()
        } catch {
            do {
                if (error as? Failure)?.isShared == true {
                    try traceLog.write()
                } else if session.world.rank == 0 {
                    try traceLog.writeAlone()
                }
            } catch let second {
                // What ended the run is told by whoever called; this comes on top of it.
                reporter.note("the trace of the failed run is lost: \(second)")
            }
            throw error
        }
    }

    private func trainToTheEnd() throws -> Summary {
        let start = try preparePipeline()
        let (metrics, stepCount) =
            if let technique = cachedTechnique { try trainWithCache(technique, start.residual) } else {
                try trainWithoutCache()
            }
        try reporter.event(
            "end", [("seconds", JSONValue(reporter.seconds)), ("steps", JSONValue(stepCount))])
        return Summary(
            directory: directory.path, adapter: adapterPath, metrics: metrics, seconds: reporter.seconds)
    }

    /// Builds the stages. They live in `pipeline` alone, so that giving it up frees them.
    ///
    /// - Returns: where training starts.
    private func preparePipeline() throws -> ParameterStart {
        let pipeline = try PipelinePhase(session, choice.plan)
        self.pipeline = pipeline
        pipelineState = makeState(
            parameterCount: pipeline.model?.parameters.count ?? 0, completedSteps: 0)
        let planned = pipelineState!.plannedSteps
        let pipelineSteps = cachedTechnique == nil ? planned : min(stepsPerEpoch, planned)
        reporter.expect(
            pipelineSteps: pipelineSteps, cachedSteps: planned - pipelineSteps,
            epochs: session.experiment.training.epochs,
            evaluationShare: Double(session.validation?.count ?? 0) / Double(train.count))
        let start = try ParameterStart(session)
        try pipeline.initialize(start)
        return start
    }

    /// The technique, when its activations are kept.
    private var cachedTechnique: ParallelAdapters? {
        session.experiment.fillsCache(sampleCount: train.count)
            ? session.experiment.technique as? ParallelAdapters : nil
    }

    // MARK: Phases

    /// Every epoch with the backbone.
    ///
    /// - Returns: the last metrics, on rank 0, and the number of updates.
    private func trainWithoutCache() throws -> (Metrics?, Int) {
        let (pipeline, state) = (pipeline!, pipelineState!)
        MemoryReport.reset(session)
        var metrics: Metrics?
        for epoch in 1...session.experiment.training.epochs where !state.isFinished {
            metrics = try pipelineEpoch(epoch, pipeline, state, cache: nil) ?? metrics
            try save(pipeline)
        }
        try MemoryReport.log(.pipeline, session, reporter)
        return (metrics, state.completedSteps)
    }

    /// The first epoch with the backbone, the others from the cache.
    ///
    /// - Returns: the last metrics, on rank 0, and the number of updates.
    private func trainWithCache(_ technique: ParallelAdapters, _ residual: [Int]) throws -> (Metrics?, Int) {
        let store = try CacheStore(session, technique, choice.plan, directory)
        do {
            return try trainWithCache(store, residual)
        } catch {
            // A cache that the run could not finish would only keep a full disk full.
            if !session.experiment.cache.keep { try store.remove() }
            throw error
        }
    }

    private func trainWithCache(_ store: CacheStore, _ residual: [Int]) throws -> (Metrics?, Int) {
        try saveInitialSide(store, residual)
        MemoryReport.reset(session)
        var metrics = try pipelineEpoch(1, pipeline!, pipelineState!, cache: store)
        try MemoryReport.log(.pipeline, session, reporter)

        // The epoch is safe before anything moves: redistribution is where a disk fills up.
        try save(pipeline!)
        // The backbone makes room for everything that follows.
        let before = session.ledger.live(.weights)
        session.ledger.activity = "redistribution"
        pipeline!.model?.releaseBackbone()
        let complete = try completeModel()
        let state = makeState(
            parameterCount: complete.parameters.count, completedSteps: pipelineState!.completedSteps)
        try ParameterGathering.gather(
            into: complete.parameters, from: pipeline!.model, plan: choice.plan, session: session,
            optimizers: (own: pipelineState!.optimizer, complete: state.optimizer))
        try store.save("frozen", residual: residual) {
            complete.head!.frozenTensors.map { (name: $0.name, shape: $0.shape, values: $0.tensor.values) }
        }
        releaseStages()
        MemoryReport.reset(session)

        let start = MonotonicClock.seconds
        let owners = choice.cacheOwners(worldSize: session.world.size)
        let (file, bytes) = try session.trace.measureAlways("redistribution", .redistribution) {
            try store.redistribute(owners: owners, stepCount: min(stepsPerEpoch, state.completedSteps))
        }
        let moved = try session.world.allReduceSum(Int64(bytes))
        let seconds = MonotonicClock.seconds - start
        reporter.note(
            "redistributed \(Format.bytes(Int(moved))) in \(Format.duration(seconds)); backbone released: weights "
                + "\(Format.bytes(before)) -> \(Format.bytes(session.ledger.live(.weights)))")
        try reporter.event(
            "redistribution", [("bytes", JSONValue(Int(moved))), ("seconds", JSONValue(seconds))])

        let cached = CachedPhase(session, complete, file, thread: store.thread, owners: owners)
        session.trace.beginPhase(completedSteps: state.completedSteps)
        var epoch = 2
        while !state.isFinished {
            metrics = try cachedEpoch(epoch, cached, complete, state) ?? metrics
            try save(complete)
            epoch += 1
        }
        if epoch > 2 { try MemoryReport.log(.cached, session, reporter) }
        try store.close(keep: session.experiment.cache.keep)
        return (metrics, state.completedSteps)
    }

    /// Lets go of the stages, unless an evaluation will map their backbone again, and of the checkpoint.
    private func releaseStages() {
        pipelineState = nil
        if !session.validatesByWriting || session.validation == nil { pipeline = nil }
        session.model.release()
    }

    /// One epoch from the cache, and the evaluation after it.
    private func cachedEpoch(
        _ epoch: Int, _ cached: CachedPhase, _ complete: StageModel, _ state: TrainingState
    ) throws -> Metrics? {
        let start = MonotonicClock.seconds
        session.ledger.activity = "epoch \(epoch) from the cache"
        let waited = try session.trace.measureAlways("epoch \(epoch)", .epoch, epoch: epoch) {
            try cached.trainEpoch(epoch, train, state, reporter: reporter)
        }
        try reporter.epoch(
            epoch, phase: .cached, seconds: MonotonicClock.seconds - start, waitedForDisk: waited)
        guard let validation = session.validation else { return nil }
        let evaluationStart = MonotonicClock.seconds
        let predictions = try session.trace.measureAlways("evaluation", .evaluation, epoch: epoch) {
            if let pipeline {
                try predictThroughStages(pipeline, complete, validation)
            } else {
                try cached.predict(validation)
            }
        }
        return try evaluate(predictions, validation, epoch, since: evaluationStart)
    }

    /// One epoch with the backbone, and the evaluation after it.
    private func pipelineEpoch(
        _ epoch: Int, _ pipeline: PipelinePhase, _ state: TrainingState, cache: CacheStore?
    ) throws -> Metrics? {
        let start = MonotonicClock.seconds
        try session.trace.measureAlways("epoch \(epoch)", .epoch, epoch: epoch) {
            try pipeline.trainEpoch(
                epoch, train, state, recorder: cache?.recorder(.train, train), reporter: reporter)
        }
        try reporter.epoch(epoch, phase: .pipeline, seconds: MonotonicClock.seconds - start)
        guard let validation = session.validation else { return nil }
        let evaluationStart = MonotonicClock.seconds
        let predictions = try session.trace.measureAlways("evaluation", .evaluation, epoch: epoch) {
            try pipeline.predict(
                validation, writes: session.validatesByWriting,
                recorder: cache?.recorder(.validation, validation), maximumLength: generationLength)
        }
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
        return try pipeline.predict(
            dataset, writes: session.validatesByWriting, recorder: nil, maximumLength: generationLength)
    }

    private func evaluate(
        _ predictions: Predictions?, _ dataset: TokenizedDataset, _ epoch: Int, since start: Double
    ) throws -> Metrics? {
        var metrics: Metrics?
        try session.world.onRoot {
            let measured = try predictions!.metrics(session.task!, dataset)
            try reporter.evaluation(
                epoch, measured, samples: dataset.count, seconds: MonotonicClock.seconds - start)
            metrics = measured
        }
        return metrics
    }

    // MARK: Parameters

    private var stepsPerEpoch: Int {
        session.order(sampleCount: train.count, isShuffled: false).stepCount
    }

    private func makeState(parameterCount: Int, completedSteps: Int) -> TrainingState {
        TrainingState(
            session.experiment, parameterCount: parameterCount, stepsPerEpoch: stepsPerEpoch,
            ledger: session.ledger, completedSteps: completedSteps)
    }

    /// The model of all steps without a backbone; its trainable values are still to be set. Collective over the world.
    private func completeModel() throws -> StageModel {
        try session.world.agree {
            try StageModel(
                family, session.modelConfiguration, steps: allSteps,
                frozen: CopyingSource(session.model.frozenSource(Ledger()), ledger: session.ledger),
                withBackbone: false, ledger: session.ledger)
        }
    }

    private var allSteps: [LayerStep] { family.steps(of: 0..<family.plannerLayers.count) }

    /// Writes the side network's tensors as they are before the first step. Collective over the world.
    private func saveInitialSide(_ store: CacheStore, _ residual: [Int]) throws {
        let bucket = ParameterBucket(
            try StageModel.declarations(family, session.modelConfiguration, steps: allSteps),
            ledger: session.ledger)
        try ParameterGathering.gather(
            into: bucket, from: pipeline!.model, plan: choice.plan, session: session)
        try store.save("side-initial", residual: residual) {
            bucket.named.filter { $0.name.hasPrefix("side.") }
        }
    }

    /// Saves what the stages hold, each handing on its own, and the trace. Collective over the world.
    private func save(_ pipeline: PipelinePhase) throws {
        let declarations = try StageModel.declarations(family, session.modelConfiguration, steps: allSteps)
        try session.trace.measureAlways("save", .save) {
            let writer = try makeWriter(declarations)
            try ParameterGathering.stream(
                declarations, from: pipeline.model, plan: choice.plan, session: session
            ) { try writer!.append($0) }
            try session.world.onRoot { try writer!.finish() }
        }
        try traceLog.write()
    }

    /// Saves a complete model, which rank 0 has as every other, and the trace. Collective over the world.
    private func save(_ complete: StageModel) throws {
        try session.trace.measureAlways("save", .save) {
            let writer = try makeWriter(complete.parameters.declarations)
            try session.world.onRoot {
                let values = complete.parameters.values
                try writer!.append(UnsafeBufferPointer(start: values.pointer, count: values.count))
                try writer!.finish()
            }
        }
        try traceLog.write()
    }

    /// Begins the adapter's files; nil but on rank 0. Collective over the world.
    private func makeWriter(_ declarations: [ParameterBucket.Declaration]) throws -> AdapterWriter? {
        try session.world.agree {
            guard let task = session.task else { return nil }
            return try AdapterWriter(
                adapterPath, declarations, session: session, task: task,
                maximumGenerationLength: generationLength)
        }
    }

    private var adapterPath: String { directory.path + "/adapter" }

    /// Room for a text somewhat longer than any that was trained on.
    private var generationLength: Int {
        train.hasTargets ? train.maximumTargetLength + 8 : session.experiment.task.maximumSequenceLength
    }
}
