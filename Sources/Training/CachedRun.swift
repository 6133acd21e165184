import MPI
import Models
import Planning
import Reporting
import Support
import TensorCore
import TextData

/// A run with a cache: the first epoch passes through the stages while the cache fills, the others run from it. A run that
/// goes on uses what is there of the cache and computes again only what is missing.
final class CachedRun {
    private let run: RunContext
    private let session: Session
    private let store: CacheStore
    /// The stages; given up when nothing needs them any more.
    private var pipeline: PipelinePhase?
    /// The model of all steps without a backbone, and its optimizer; once the first epoch is behind.
    private var complete: (model: StageModel, state: TrainingState)?

    /// Opens the cache. Collective over the world.
    init(_ run: RunContext, _ technique: ParallelAdapters) throws {
        self.run = run
        session = run.session
        store = try CacheStore(
            run.session, technique, run.directory, earlier: run.resumed == nil ? .none : .reused)
        run.expect(isCached: true)
    }

    /// Trains. Collective over the world.
    ///
    /// - Returns: the last metrics, on rank 0, and the number of updates.
    func train() throws -> (Metrics?, Int) {
        if run.resumed != nil { try reportResuming() }
        let passesThroughStages = try passesThroughStages()
        var metrics = passesThroughStages ? try trainThroughStages() : nil
        try computeMissing()
        try completeModel()
        let (model, state) = complete!
        try redistribute(state)
        let cached = CachedPhase(session, model, store.shape, thread: store.thread, owners: run.choice.owners)
        session.trace.beginPhase(completedSteps: state.completedSteps)
        let first = passesThroughStages ? 2 : run.firstEpoch
        for epoch in first...max(first, run.lastEpoch) where epoch <= run.lastEpoch {
            metrics = try cachedEpoch(epoch, cached, model, state) ?? metrics
            try run.save(model, state)
        }
        if first <= run.lastEpoch { try MemoryReport.log(.cached, session, run.reporter) }
        try store.close(keep: session.experiment.cache.keep)
        return (metrics, state.completedSteps)
    }

    /// Saves what can be saved when this rank ends alone: the activations that were written, and where the run stands, if
    /// the rank has all of it. Not collective.
    func saveAlone() throws {
        try store.flush()
        if let (model, state) = complete {
            try run.checkpoints.save(model.parameters, state, epochIsClosed: false)
        } else if let stageState, let model = pipeline?.model, run.choice.plan.stages.count == 1 {
            try run.checkpoints.save(model.parameters, stageState, epochIsClosed: false)
        }
    }

    // MARK: The first epoch

    private var completedSteps: Int { run.resumed?.checkpoint.step ?? 0 }

    /// Whether the first epoch, or its evaluation, is not behind the run.
    private var isFirstEpochOpen: Bool { run.firstEpoch == 1 }

    /// Whether the first epoch, or what is left of it, is trained through the stages: unless the run goes on under another
    /// plan. The stages would then compute again what the cache has, so it is completed first and the epoch ends from it.
    private func passesThroughStages() throws -> Bool {
        guard isFirstEpochOpen else { return false }
        return try run.resumed == nil || run.choice.isResumed || !store.hasSurvivors()
    }

    private func trainThroughStages() throws -> Metrics? {
        let pipeline = try PipelinePhase(session, run.choice.plan)
        self.pipeline = pipeline
        let state = run.makeState(
            parameterCount: pipeline.model?.parameters.count ?? 0, completedSteps: completedSteps)
        stageState = state
        let start = try ParameterStart(session)
        try pipeline.initialize(start)
        try saveInitialSide(pipeline, start)
        if let resumed = run.resumed {
            try resumed.restore(
                try run.declarations(), into: pipeline.model?.parameters, state.optimizer, session: session)
        } else {
            try run.saveCheckpoint(pipeline, state, epochIsClosed: false)
        }
        try store.beginStage(run.choice.plan)
        MemoryReport.reset(session)
        let metrics = try run.pipelineEpoch(1, pipeline, state, cache: store)
        try MemoryReport.log(.pipeline, session, run.reporter)
        // The epoch is safe before anything moves: redistribution is where a disk fills up.
        try run.save(pipeline, state)
        return metrics
    }

    /// The optimizer of the stages, until the complete model has taken it over.
    private var stageState: TrainingState?

    /// Writes the side network's tensors as they are before the first step. Collective over the world.
    private func saveInitialSide(_ pipeline: PipelinePhase, _ start: ParameterStart) throws {
        let bucket = ParameterBucket(try run.declarations(), ledger: session.ledger)
        try ParameterGathering.gather(
            into: bucket, from: pipeline.model, plan: run.choice.plan, session: session)
        try store.save("side-initial", residual: start.residual) {
            bucket.named.filter { $0.name.hasPrefix("side.") }
        }
    }

    // MARK: Between

    /// The splits that the cache keeps, each with the samples that it needs and the rank that owns each.
    private var needs: CacheStore.Needs {
        [(Split.train, session.train), (.validation, session.validation)].compactMap { split, dataset in
            guard let dataset, store.keeps(split) else { return nil }
            let isShuffled = split == .train && session.experiment.training.isShuffled
            // Of a run that ends within its first epoch, only what that epoch saw.
            let miniBatches = session.order(sampleCount: dataset.count, isShuffled: isShuffled)
                .miniBatches(epoch: 1).prefix(split == .train ? run.plannedSteps : Int.max)
            let samples = miniBatches.flatMap { samples in
                samples.enumerated().map { (sample: $1, owner: run.choice.owners[$0]) }
            }
            return (split, dataset, samples)
        }
    }

    /// Tells what of the cache the run begins with.
    private func reportResuming() throws {
        let samples = needs.flatMap { need in need.samples.map { (need.split, $0.sample) } }
        let inventory = try store.inventory()
        let reused = samples.filter { inventory.pieces($0.0, $0.1, for: 0) != nil }.count
        // What the first epoch has not reached was never computed.
        let reached =
            isFirstEpochOpen
            ? min(completedSteps * session.experiment.training.miniBatchSize, run.train.count) : samples.count
        try run.reporter.resumed(
            run.resumed!, epoch: run.firstEpoch, session,
            samples: (reused: reused, recomputed: max(0, reached - reused)))
    }

    /// Computes the activations that no rank has. Collective over the world.
    private func computeMissing() throws {
        let inventory = try store.inventory()
        for (split, dataset, samples) in needs {
            let missing = inventory.missing(split, of: samples.map(\.sample))
            guard !missing.isEmpty else { continue }
            let start = MonotonicClock.seconds
            if pipeline == nil {
                pipeline = try PipelinePhase(session, run.choice.plan)
                try store.beginStage(run.choice.plan)
            }
            try session.trace.measureAlways("missing activations", .redistribution) {
                try pipeline!.record(missing, of: dataset, recorder: store.recorder(split, dataset))
            }
            run.reporter.note(
                "computed the activations of \(missing.count) of \(samples.count) \(split.rawValue) samples again in "
                    + Format.duration(MonotonicClock.seconds - start))
        }
    }

    /// Makes the model of all steps without a backbone, from the stages or from the checkpoint, and lets go of the
    /// backbone. Collective over the world.
    private func completeModel() throws {
        // The backbone makes room for everything that follows.
        session.ledger.activity = "redistribution"
        pipeline?.model?.releaseBackbone()
        let model = try session.world.agree {
            try StageModel(
                run.family, session.modelConfiguration, steps: run.allSteps,
                frozen: CopyingSource(session.model.frozenSource(Ledger()), ledger: session.ledger),
                withBackbone: false, ledger: session.ledger)
        }
        let state = run.makeState(
            parameterCount: model.parameters.count,
            completedSteps: stageState?.completedSteps ?? completedSteps)
        if let stageState {
            try ParameterGathering.gather(
                into: model.parameters, from: pipeline!.model, plan: run.choice.plan, session: session,
                optimizers: (own: stageState.optimizer, complete: state.optimizer))
        } else {
            try run.resumed!.restore(
                try run.declarations(), into: model.parameters, state.optimizer, session: session)
        }
        try store.save("frozen", residual: []) {
            model.head!.frozenTensors.map { (name: $0.name, shape: $0.shape, values: $0.tensor.values) }
        }
        complete = (model, state)
        stageState = nil
        // An evaluation by writing maps the stages' backbone again.
        if session.validatesByWriting, session.validation != nil {
            if pipeline == nil {
                pipeline = try PipelinePhase(session, run.choice.plan)
                pipeline!.model?.releaseBackbone()
            }
        } else {
            pipeline = nil
        }
        session.model.release()
        MemoryReport.reset(session)
    }

    private func redistribute(_ state: TrainingState) throws {
        let start = MonotonicClock.seconds
        let isWhole = run.plannedSteps >= run.stepsPerEpoch
        let bytes = try session.trace.measureAlways("redistribution", .redistribution) {
            try store.redistribute(needs, isWhole: isWhole)
        }
        let moved = try session.world.allReduceSum(Int64(bytes))
        let seconds = MonotonicClock.seconds - start
        run.reporter.note(
            "redistributed \(Format.bytes(Int(moved))) in \(Format.duration(seconds)); backbone released: weights "
                + Format.bytes(session.ledger.live(.weights)))
        try run.reporter.event(
            "redistribution", [("bytes", JSONValue(Int(moved))), ("seconds", JSONValue(seconds))])
    }

    // MARK: Cached epochs

    /// One epoch from the cache, as far as it is not behind the run, and the evaluation after it.
    private func cachedEpoch(
        _ epoch: Int, _ cached: CachedPhase, _ model: StageModel, _ state: TrainingState
    ) throws -> Metrics? {
        let start = MonotonicClock.seconds
        session.ledger.activity = "epoch \(epoch) from the cache"
        let checkpoints = run.checkpoints
        let waited = try session.trace.measureAlways("epoch \(epoch)", .epoch, epoch: epoch) {
            try cached.train(
                session.remainingMiniBatches(run.train, epoch: epoch, state), epoch: epoch, isEpochsEnd: true,
                run.train, from: store.files, state, reporter: run.reporter,
                checkpoint: StepCheckpoint(isDue: checkpoints.isDue) { [session] in
                    try session.world.agree {
                        try checkpoints.save(model.parameters, state, epochIsClosed: false)
                    }
                })
        }
        try run.reporter.epoch(
            epoch, phase: .cached, seconds: MonotonicClock.seconds - start, waitedForDisk: waited)
        guard let validation = session.validation else { return nil }
        let evaluationStart = MonotonicClock.seconds
        let predictions = try session.trace.measureAlways("evaluation", .evaluation, epoch: epoch) {
            if let pipeline {
                try predictThroughStages(pipeline, model, validation)
            } else {
                try cached.predict(validation, from: store.files)
            }
        }
        return try run.evaluate(predictions, validation, epoch, since: evaluationStart)
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
            dataset, writes: session.validatesByWriting, recorder: nil, maximumLength: run.generationLength)
    }
}
