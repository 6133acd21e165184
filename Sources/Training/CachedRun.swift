import MPI
import Models
import Plans
import Reporting
import Support
import TensorCore
import TextData

/// A run with a cache: the first epoch passes through the stages while the cache fills, the others run from it. Under the
/// streaming schedule only the backbone passes through the stages, and all epochs run from the cache. A run that goes on
/// uses what is there of the cache and computes again only what is missing.
final class CachedRun {
    private let run: RunContext
    private let session: Session
    private let technique: ParallelAdapters
    private let store: CacheStore
    private let extent: CacheExtent
    /// The stages; given up when nothing needs them any more.
    private var pipeline: PipelinePhase?
    /// The model of all steps without a backbone, and its optimizer; once the first epoch is behind.
    private var complete: (model: StageModel, state: TrainingState)?

    /// Opens the cache. Collective over the world.
    init(_ run: RunContext, _ technique: ParallelAdapters, _ extent: CacheExtent) throws {
        self.run = run
        self.technique = technique
        session = run.session
        store = try CacheStore(
            run.session, technique, run.directory, earlier: run.resumed == nil ? .none : .reused)
        self.extent = extent
        run.expect(cachedFrom: streams ? 1 : 2)
        guard !extent.isWhole else { return }
        let miniBatches = run.session.order(
            sampleCount: run.train.count, isShuffled: run.session.experiment.training.isShuffled
        ).miniBatches(epoch: 1)
        store.resident[.train] = Set(miniBatches.prefix(extent.residentSteps).joined())
        if !extent.keepsValidation { store.resident[.validation] = [] }
    }

    /// Trains. Collective over the world.
    ///
    /// - Returns: the last metrics, on rank 0.
    func train() throws -> Metrics? {
        do { return try trainToTheEnd() } catch let failure as Failure where failure.isShared {
            do { try store.abandonMoving() } catch {
                // The reason is the first failure; this comes on top of it.
                run.reporter.note("what was moving could not be ended: \(error)")
            }
            throw failure
        }
    }

    private func trainToTheEnd() throws -> Metrics? {
        if run.resumed != nil { try reportResuming() }
        let passesThroughStages = try passesThroughStages()
        var metrics = passesThroughStages ? try passThroughStages() : nil
        try computeMissing()
        try completeModel()
        let (model, state) = complete!
        try redistribute(state)
        let cached = CachedPhase(session, model, store.shape, thread: store.thread, owners: run.choice.owners)
        session.trace.beginPhase(completedSteps: state.completedSteps)
        let first = passesThroughStages && !streams ? 2 : run.firstEpoch
        for epoch in first...max(first, run.lastEpoch) where epoch <= run.lastEpoch {
            metrics = try cachedEpoch(epoch, cached, model, state) ?? metrics
            try run.save(model, state)
        }
        if first <= run.lastEpoch { try MemoryReport.log(.cached, session, run.reporter) }
        try store.close(keep: session.experiment.cache.keep)
        try run.end(state)
        return metrics
    }

    /// Saves what can be saved when this rank ends alone: the activations that were written, and where the run stands, if
    /// the rank has all of it. Not collective.
    func saveAlone() throws {
        let flushed = Result { try store.flush() }
        if let (model, state) = complete {
            try run.checkpoints.saveAlone(model.parameters, state)
        } else if let stageState, let model = pipeline?.model, run.choice.plan.stages.count == 1 {
            try run.checkpoints.saveAlone(model.parameters, stageState)
        }
        try flushed.get()
    }

    // MARK: The first epoch

    private var completedSteps: Int { run.resumed?.checkpoint.step ?? 0 }

    /// Whether the first epoch, or its evaluation, is not behind the run.
    private var isFirstEpochOpen: Bool { run.firstEpoch == 1 }

    /// Whether the samples pass through the backbone without waiting for the side network.
    private var streams: Bool { session.experiment.parallelism.firstPass == .streaming }

    /// Whether the first epoch, or what is left of it, passes through the stages: unless the run goes on under another
    /// plan, or streams. The stages would then compute again what the cache has, so it is completed first and the epoch
    /// ends from it.
    private func passesThroughStages() throws -> Bool {
        guard isFirstEpochOpen else { return false }
        return try run.resumed == nil || !streams && (run.choice.isResumed || !store.hasSurvivors())
    }

    private func passThroughStages() throws -> Metrics? {
        let pipeline = try PipelinePhase(session, run.choice.plan)
        self.pipeline = pipeline
        let state = run.makeState(
            parameterCount: pipeline.model?.parameters.count ?? 0, completedSteps: completedSteps)
        stageState = state
        let start = try ParameterStart(session)
        try pipeline.initialize(start)
        if let resumed = run.resumed {
            try resumed.restore(
                try run.declarations(), into: pipeline.model?.parameters, state.optimizer, session: session)
        } else {
            try run.saveCheckpoint(pipeline, state, epochIsClosed: false)
        }
        try store.beginStage(run.choice.plan)
        MemoryReport.reset(session)
        let passing = run.passing(store, state)
        try beginMoving(passing)
        guard !streams else {
            try run.streamActivations(pipeline, passing, into: store)
            try MemoryReport.log(.pipeline, session, run.reporter)
            return nil
        }
        let metrics = try run.pipelineEpoch(1, pipeline, state, cache: store)
        try MemoryReport.log(.pipeline, session, run.reporter)
        // The epoch is safe before anything is removed: redistribution is where a disk fills up.
        try run.save(pipeline, state)
        return metrics
    }

    /// The optimizer of the stages, until the complete model has taken it over.
    private var stageState: TrainingState?

    // MARK: Between

    /// Tells what of the cache the run begins with.
    private func reportResuming() throws {
        let samples = run.needs(store).flatMap { need in need.samples.map { (need.split, $0.sample) } }
        let inventory = try store.inventory()
        let reused = samples.filter { inventory.pieces($0.0, $0.1, for: 0) != nil }.count
        // What the first epoch has not reached was never computed; how far a stream came, nobody knows.
        let trained = min(completedSteps * session.experiment.training.miniBatchSize, run.train.count)
        let reached =
            streams ? (completedSteps > 0 ? samples.count : 0) : isFirstEpochOpen ? trained : samples.count
        try run.reporter.resumed(
            run.resumed!, epoch: run.firstEpoch, session,
            samples: (reused: reused, recomputed: max(0, reached - reused)))
    }

    /// Lets activations move while the stages compute them. Collective over the world.
    private func beginMoving(_ passing: [Split: [[Int]]]) throws {
        guard session.experiment.cache.movesEarly else { return }
        try store.beginMoving(
            run.needs(store), passing: passing, plan: run.choice.plan,
            room: try session.world.agree(run.spareBytes))
    }

    /// Computes the activations that no rank has. Collective over the world.
    private func computeMissing() throws {
        let inventory = try store.inventory()
        var missing: [Split: [[Int]]] = [:]
        for (split, _, samples) in run.needs(store) {
            let samples = inventory.missing(split, of: samples.map(\.sample))
            if !samples.isEmpty { missing[split] = session.miniBatches(of: samples) }
        }
        guard !missing.isEmpty else { return }
        if pipeline == nil {
            pipeline = try PipelinePhase(session, run.choice.plan)
            try store.beginStage(run.choice.plan)
            try beginMoving(missing)
        }
        try run.streamActivations(pipeline!, missing, into: store)
    }

    /// Makes the model of all steps without a backbone, from the stages or from the checkpoint, and lets go of the
    /// backbone. Collective over the world.
    private func completeModel() throws {
        backboneBytes = session.ledger.live(.weights)
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
        if session.experiment.cache.keep { try saveTensors(model) }
        complete = (model, state)
        stageState = nil
        // The stages map their backbone again for what is not in the cache.
        if evaluatesThroughStages || extent.residentSteps < extent.stepCount {
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

    /// Whether the validation's activations are not in the cache.
    private var evaluatesThroughStages: Bool { session.validation != nil && !store.keeps(.validation) }

    /// Writes what a replay needs besides the activations. Collective over the world.
    private func saveTensors(_ complete: StageModel) throws {
        let start = try ParameterStart(session)
        try store.save {
            // Only read here, and only on rank 0: on a ledger of its own.
            let initial = try StageModel(
                run.family, session.modelConfiguration, steps: run.allSteps,
                frozen: session.model.frozenSource(Ledger()), withBackbone: false, ledger: Ledger())
            try start.initialize(initial)
            let named = initial.parameters.named
            return CachedTensors(
                modelHash: session.model.fingerprint, residual: start.residual,
                reductionFactor: technique.reductionFactor,
                frozen: complete.head!.frozenTensors.map { ($0.name, $0.shape, $0.tensor.values) },
                sideInitial: named.filter { $0.name.hasPrefix("side.") },
                rankings: try start.rankings(run.allSteps),
                classifier: try named.filter {
                    try session.model.storedValues($0.name, $0.shape) != nil
                        && run.family.isClassifier($0.name)
                })
        }
    }

    /// Weights that were held before the backbone went; 0 where a run that goes on never had it.
    private var backboneBytes = 0

    private func redistribute(_ state: TrainingState) throws {
        let start = MonotonicClock.seconds
        let isWhole = run.plannedSteps >= run.stepsPerEpoch && extent.isWhole
        let bytes = try session.trace.measureAlways("redistribution", .redistribution) {
            try store.redistribute(run.needs(store), isWhole: isWhole)
        }
        let moved = try session.world.allReduceSum(Int64(bytes))
        let seconds = MonotonicClock.seconds - start
        run.reporter.note(
            "redistributed \(Format.bytes(Int(moved))) in \(Format.duration(seconds))"
                + (backboneBytes == 0
                    ? ""
                    : "; backbone released: weights \(Format.bytes(backboneBytes)) -> "
                        + Format.bytes(session.ledger.live(.weights))))
        try run.reporter.event(
            "redistribution", [("bytes", JSONValue(Int(moved))), ("seconds", JSONValue(seconds))])
    }

    // MARK: Cached epochs

    /// One epoch from the cache, as far as it is not behind the run, and the evaluation after it.
    private func cachedEpoch(
        _ epoch: Int, _ cached: CachedPhase, _ model: StageModel, _ state: TrainingState
    ) throws -> Metrics? {
        let checkpoints = run.checkpoints
        let checkpoint = StepCheckpoint(isDue: checkpoints.isDue) { [session] in
            try session.world.agree {
                try checkpoints.save(model.parameters, state, epochIsClosed: false)
            }
        }
        let miniBatches = session.remainingMiniBatches(run.train, epoch: epoch, state)
        return try run.cachedEpoch(epoch, state) {
            try windows(miniBatches).reduce(0.0) { waited, range in
                let window = Array(miniBatches[range])
                let isEpochsEnd = range.upperBound == miniBatches.count
                return try withWindow(window) { files in
                    try waited
                        + cached.train(
                            window, epoch: epoch, isEpochsEnd: isEpochsEnd, run.train, from: files, state,
                            reporter: run.reporter, checkpoint: checkpoint)
                }
            }
        } predicting: { validation in
            if let pipeline, evaluatesThroughStages {
                try predictThroughStages(pipeline, model, validation)
            } else {
                try cached.predict(validation, from: store.files)
            }
        }
    }

    /// Mini-batches that have room beside the resident samples, in order.
    private func windows(_ miniBatches: [[Int]]) throws -> [Range<Int>] {
        let builder = try session.builder(run.train)
        let footprint = try CacheFootprint(session, run.choice, technique)
        return extent.windows(miniBatches) { samples in
            footprint.windowBytes(samples.enumerated().filter { !isResident($0.element) }, builder)
        }
    }

    private func isResident(_ sample: Int) -> Bool { store.resident[.train]?.contains(sample) ?? true }

    /// Runs `body` with the files that hold some mini-batches: what is not resident is computed before and removed after.
    private func withWindow<R>(_ miniBatches: [[Int]], _ body: ([ActivationCacheFile]) throws -> R) throws
        -> R
    {
        let missing = run.owned(miniBatches).filter { !isResident($0.sample) }
        guard !missing.isEmpty, let pipeline else { return try body(store.files) }
        let window = try store.makeWindow()
        try session.trace.measureAlways("window", .redistribution) {
            try withBackbone(pipeline) {
                try window.beginStage(run.choice.plan)
                try pipeline.record(
                    session.miniBatches(of: missing.map(\.sample)), of: run.train,
                    filling: window.filling(.train, run.train))
            }
            _ = try window.redistribute([(.train, run.train, missing)], isWhole: nil)
        }
        let result = try body(store.files + window.files)
        try window.discard()
        return result
    }

    /// Runs `body` while each stage has its slice of the backbone mapped. Collective over the world.
    private func withBackbone<R>(_ pipeline: PipelinePhase, _ body: () throws -> R) throws -> R {
        try session.world.agree {
            try pipeline.model?.restoreBackbone(from: session.model.frozenSource(session.ledger))
        }
        defer {
            pipeline.model?.releaseBackbone()
            session.model.release()
        }
        return try body()
    }

    /// Evaluates with the backbone between cached epochs.
    private func predictThroughStages(
        _ pipeline: PipelinePhase, _ complete: StageModel, _ dataset: TokenizedDataset
    ) throws -> Predictions? {
        if let model = pipeline.model { ParameterGathering.scatter(from: complete, into: model) }
        return try withBackbone(pipeline) {
            try pipeline.predict(
                dataset, writes: session.validatesByWriting, filling: nil,
                maximumLength: run.generationLength)
        }
    }
}
