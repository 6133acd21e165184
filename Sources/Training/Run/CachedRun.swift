import ActivationCache
import Configuration
import MPI
import Models
import Plans
import Reporting
import Stages
import Support
import TensorCore
import TextData

/// A run with a cache: the first epoch passes through the stages while the cache fills, the others run from it. Where the first
/// pass streams, only the backbone passes through the stages, and all epochs run from the cache. A resumed run uses what the
/// cache holds and computes again only what is missing.
final class CachedRun {
    private let run: RunContext
    private let context: RankContext
    private let experiment: Experiment
    private let technique: ParallelAdapters
    private let store: CacheStore
    private let needs: CacheNeeds
    private let extent: CacheExtent
    private let epochs: EpochRunner
    /// The stages; given up when nothing needs them any more.
    private var pipeline: PipelinePhase?
    /// The optimizer of the stages, until the complete model has taken it over.
    private var stageState: TrainingState?
    /// The model of all steps without a backbone, and its optimizer; once the first epoch is behind.
    private var complete: (model: StageModel, state: TrainingState)?
    /// Weights that were held before the backbone went; 0 where a run that goes on never had it.
    private var backboneBytes = 0

    /// Opens the cache. Collective over the world.
    init(
        _ run: RunContext, _ technique: ParallelAdapters, _ contents: CacheContents, _ extent: CacheExtent
    ) throws {
        self.run = run
        self.technique = technique
        self.extent = extent
        context = run.context
        experiment = run.session.experiment
        epochs = EpochRunner(run)
        store = try CacheStore(
            contents, run.directory.cache, earlier: run.resumed == nil ? .none : .reused, on: run.context)
        needs = CacheNeeds(
            run.course, experiment.training, contents, owners: run.choice.owners,
            residentSteps: extent.residentSteps)
        run.expect(cachedFrom: streams ? 1 : 2)
        guard !extent.isWhole else { return }
        let resident = run.course.miniBatches(epoch: 1).prefix(extent.residentSteps)
        store.resident[.train] = Set(resident.joined())
        if !extent.keepsValidation { store.resident[.validation] = [] }
    }

    /// Trains. Collective over the world.
    ///
    /// - Returns: the last metrics, on rank 0.
    func train() throws -> Metrics? {
        do { return try trainToTheEnd() } catch let failure as Failure where failure.isShared {
            do { try store.abandonMoving() } catch {
                // The reason is the first failure; this comes on top of it.
                run.reporter.note("pending transfers could not be stopped: \(error)")
            }
            throw failure
        }
    }

    private func trainToTheEnd() throws -> Metrics? {
        if run.resumed != nil { try reportResuming() }
        let trainsThroughStages = try startsWithStages()
        var metrics = trainsThroughStages ? try trainFirstEpoch() : nil
        try computeMissing()
        try completeModel()
        let (model, state) = complete!
        try redistribute(state)
        let cached = CachedPhase(
            model, store.shape, thread: store.thread, owners: run.choice.owners, on: context)
        context.trace.beginPhase(completedSteps: state.completedSteps)
        let remaining = run.remainingEpochs(from: trainsThroughStages && !streams ? 2 : nil)
        for epoch in remaining {
            metrics = try cachedEpoch(epoch, cached, model, state) ?? metrics
            try run.saver.save(complete: model.parameters, state)
        }
        if !remaining.isEmpty { try MemoryReport.log(.cached, context, run.reporter) }
        try store.close(keep: experiment.cache.keep)
        try run.end(state)
        return metrics
    }

    /// Saves what can be saved when this rank ends alone: the activations that were written, and where the run stands, if
    /// the rank has all of it. Not collective.
    func saveAlone() throws {
        let flushed = Result { try store.flush() }
        if let (model, state) = complete {
            try run.saver.checkpoints.saveAlone(model.parameters, state)
        } else if let stageState, let model = pipeline?.model, run.choice.plan.stages.count == 1 {
            try run.saver.checkpoints.saveAlone(model.parameters, stageState)
        }
        try flushed.get()
    }

    // MARK: The first epoch

    private var completedSteps: Int { run.resumed?.checkpoint.step ?? 0 }

    /// Whether the first epoch, or its evaluation, is not behind the run.
    private var isFirstEpochOpen: Bool { run.firstEpoch == 1 }

    /// Whether the samples pass through the backbone without waiting for the side network.
    private var streams: Bool { experiment.parallelism.firstPass == .streaming }

    /// Whether the first epoch, or what is left of it, passes through the stages: unless the run goes on under another
    /// plan, or streams. The stages would then compute again what the cache has, so it is completed first and the epoch
    /// ends from it.
    private func startsWithStages() throws -> Bool {
        guard isFirstEpochOpen else { return false }
        return try run.resumed == nil || !streams && (run.choice.isResumed || !store.hasSurvivors())
    }

    private func trainFirstEpoch() throws -> Metrics? {
        let pipeline = try run.makePipeline()
        self.pipeline = pipeline
        let own = pipeline.model?.parameters
        let state = run.makeState(parameterCount: own?.count ?? 0)
        stageState = state
        try pipeline.initialize(try run.makeStart())
        if run.resumed != nil {
            try run.restore(own, state)
        } else {
            try run.saver.checkpoints.save(from: own, state, epochIsClosed: false)
        }
        try store.beginStage(run.choice.plan)
        MemoryReport.reset(context.ledger)
        let passing = needs.passing(state, store)
        try beginMoving(passing)
        guard !streams else {
            try epochs.streamActivations(pipeline, passing, into: store)
            try MemoryReport.log(.pipeline, context, run.reporter)
            return nil
        }
        let metrics = try epochs.throughStages(1, pipeline, state, cache: store)
        try MemoryReport.log(.pipeline, context, run.reporter)
        // The epoch is safe before anything is removed: redistribution is where a disk fills up.
        try run.saver.save(stages: own, state)
        return metrics
    }

    // MARK: Between

    /// Tells what of the cache the run begins with.
    private func reportResuming() throws {
        let samples = needs.all(store).flatMap { need in need.samples.map { (need.split, $0.sample) } }
        let inventory = try store.inventory()
        let reused = samples.filter { inventory.pieces($0.0, $0.1, for: 0) != nil }.count
        // Samples that the first epoch has not reached were never computed. How far a stream came is not recorded.
        let trained = min(completedSteps * experiment.training.miniBatchSize, run.train.count)
        let reached =
            streams ? (completedSteps > 0 ? samples.count : 0) : isFirstEpochOpen ? trained : samples.count
        try run.reporter.resumed(
            run.resumed!, epoch: run.firstEpoch, ranks: context.world.size,
            samples: (reused: reused, recomputed: max(0, reached - reused)))
    }

    /// Lets activations move while the stages compute them. Collective over the world.
    private func beginMoving(_ passing: [Split: [[Int]]]) throws {
        guard experiment.cache.movesEarly else { return }
        try store.beginMoving(
            needs.all(store), passing: passing, plan: run.choice.plan,
            room: try context.world.agree {
                try run.choice.plan.spareBytes(context, budget: run.session.memoryBudget)
            })
    }

    /// Computes the activations that no rank has. Collective over the world.
    private func computeMissing() throws {
        let inventory = try store.inventory()
        var missing: [Split: [[Int]]] = [:]
        for (split, samples) in needs.all(store) {
            let samples = inventory.missing(split, of: samples.map(\.sample))
            if !samples.isEmpty { missing[split] = run.course.miniBatches(of: samples) }
        }
        guard !missing.isEmpty else { return }
        if pipeline == nil {
            pipeline = try run.makePipeline()
            try store.beginStage(run.choice.plan)
            try beginMoving(missing)
        }
        try epochs.streamActivations(pipeline!, missing, into: store)
    }

    /// Makes the model of all steps without a backbone, from the stages or from the checkpoint, and lets go of the
    /// backbone. Collective over the world.
    private func completeModel() throws {
        backboneBytes = context.ledger.live(.weights)
        // The backbone makes room for everything that follows.
        context.ledger.activity = "redistribution"
        pipeline?.model?.releaseBackbone()
        let model = try context.world.agree {
            try StageModel(
                run.model.family, run.model.configuration, steps: run.model.allSteps,
                frozen: CopyingSource(run.model.files.frozenSource(Ledger()), ledger: context.ledger),
                withBackbone: false, ledger: context.ledger)
        }
        let state = run.makeState(parameterCount: model.parameters.count, after: stageState)
        if let stageState {
            try ParameterGathering.gather(
                into: model.parameters, from: pipeline!.model, run.layout, on: context,
                optimizers: (own: stageState.optimizer, complete: state.optimizer))
        } else {
            try run.restore(model.parameters, state)
        }
        if experiment.cache.keep { try saveTensors(model) }
        complete = (model, state)
        stageState = nil
        // The stages map their backbone again for what is not in the cache.
        if evaluatesThroughStages || extent.residentSteps < extent.stepCount {
            if pipeline == nil {
                pipeline = try run.makePipeline()
                pipeline!.model?.releaseBackbone()
            }
        } else {
            pipeline = nil
        }
        run.model.files.release()
        MemoryReport.reset(context.ledger)
    }

    /// Whether the validation's activations are not in the cache.
    private var evaluatesThroughStages: Bool {
        run.session.data.validation != nil && !store.keeps(.validation)
    }

    /// Writes what a replay needs besides the activations. Collective over the world.
    private func saveTensors(_ complete: StageModel) throws {
        let start = try run.makeStart()
        let model = run.model
        try context.world.onRoot {
            // Only read here, and only on rank 0: on a ledger of its own.
            let initial = try StageModel(
                model.family, model.configuration, steps: model.allSteps,
                frozen: model.files.frozenSource(Ledger()), withBackbone: false, ledger: Ledger())
            try start.initialize(initial)
            let named = initial.parameters.named
            try CachedTensors(
                modelHash: model.files.fingerprint, residual: start.residual,
                reductionFactor: technique.reductionFactor,
                frozen: complete.head!.frozenTensors.map { ($0.name, $0.shape, $0.weight.values) },
                sideInitial: named.filter { $0.name.hasPrefix(SideNetwork.prefix) },
                rankings: try start.rankings(model.allSteps),
                classifier: try named.filter {
                    try model.files.storedValues($0.name, $0.shape) != nil
                        && model.family.isClassifier($0.name)
                }
            ).write(to: run.directory.cache)
        }
    }

    private func redistribute(_ state: TrainingState) throws {
        let start = MonotonicClock.seconds
        let isWhole = run.course.plannedSteps >= run.course.stepsPerEpoch && extent.isWhole
        let bytes = try context.trace.measureAlways("redistribution", .redistribution) {
            try store.redistribute(needs.all(store), isWhole: isWhole)
        }
        let moved = try context.world.allReduceSum(Int64(bytes))
        let seconds = MonotonicClock.seconds - start
        run.reporter.note(
            "redistributed \(Format.bytes(Int(moved))) in \(Format.duration(seconds))"
                + (backboneBytes == 0
                    ? ""
                    : "; backbone released: weights \(Format.bytes(backboneBytes)) -> "
                        + Format.bytes(context.ledger.live(.weights))))
        try run.reporter.event(
            .redistribution, [("bytes", JSONValue(Int(moved))), ("seconds", JSONValue(seconds))])
    }

    // MARK: Cached epochs

    /// One epoch from the cache, or what an interrupted run left of it, and the evaluation after it.
    private func cachedEpoch(
        _ epoch: Int, _ cached: CachedPhase, _ model: StageModel, _ state: TrainingState
    ) throws -> Metrics? {
        let checkpoints = run.saver.checkpoints
        let checkpoint = StepCheckpoint(isDue: checkpoints.isDue) { [context] in
            try context.world.agree {
                try checkpoints.save(model.parameters, state, epochIsClosed: false)
            }
        }
        return try epochs.fromCache(epoch, state) {
            try trainWindows(of: epoch, cached, state, checkpoint)
        } predicting: { validation in
            if let pipeline, evaluatesThroughStages {
                try predictThroughStages(pipeline, model, validation)
            } else {
                try cached.predict(
                    experiment.training.miniBatches(sampleCount: validation.count), of: validation,
                    from: store.files)
            }
        }
    }

    /// Trains what is left of an epoch, window by window where not all of it is resident.
    ///
    /// - Returns: seconds that this rank waited for its disk.
    private func trainWindows(
        of epoch: Int, _ cached: CachedPhase, _ state: TrainingState, _ checkpoint: StepCheckpoint
    ) throws -> Double {
        let miniBatches = run.course.remainingMiniBatches(epoch: epoch, state)
        var waitedSeconds = 0.0
        for range in windows(miniBatches) {
            let window = Array(miniBatches[range])
            waitedSeconds += try withWindow(window) { files in
                try cached.train(
                    window, epoch: epoch, isEpochsEnd: range.upperBound == miniBatches.count, of: run.train,
                    from: files, dropout: run.course.dropout(epoch: epoch), state, reporter: run.reporter,
                    checkpoint: checkpoint)
            }
        }
        return waitedSeconds
    }

    /// Mini-batches that have room beside the resident samples, in order.
    private func windows(_ miniBatches: [[Int]]) -> [Range<Int>] {
        let footprint = CacheFootprint(
            store.contents, run.choice.plan, owners: run.choice.owners, worldSize: context.world.size)
        return extent.windows(miniBatches) { samples in
            footprint.windowBytes(samples.enumerated().filter { !isResident($0.element) })
        }
    }

    private func isResident(_ sample: Int) -> Bool { store.resident[.train]?.contains(sample) ?? true }

    /// Runs `body` with the files that hold some mini-batches: what is not resident is computed before and removed after.
    private func withWindow<R>(_ miniBatches: [[Int]], _ body: ([ActivationCacheFile]) throws -> R) throws
        -> R
    {
        let missing = needs.owned(miniBatches).filter { !isResident($0.sample) }
        guard !missing.isEmpty, let pipeline else { return try body(store.files) }
        let window = try store.makeWindow()
        try context.trace.measureAlways("window", .redistribution) {
            try withBackbone(pipeline) {
                try window.beginStage(run.choice.plan)
                try pipeline.record(
                    run.course.miniBatches(of: missing.map(\.sample)), of: run.train,
                    filling: window.filling(.train))
            }
            _ = try window.redistribute([(.train, missing)], isWhole: nil)
        }
        let result = try body(store.files + window.files)
        try window.discard()
        return result
    }

    /// Runs `body` while each stage has its slice of the backbone mapped. Collective over the world.
    private func withBackbone<R>(_ pipeline: PipelinePhase, _ body: () throws -> R) throws -> R {
        try context.world.agree {
            try pipeline.model?.restoreBackbone(from: run.model.files.frozenSource(context.ledger))
        }
        defer {
            pipeline.model?.releaseBackbone()
            run.model.files.release()
        }
        return try body()
    }

    /// Evaluates with the backbone between cached epochs.
    private func predictThroughStages(
        _ pipeline: PipelinePhase, _ complete: StageModel, _ validation: SplitSamples
    ) throws -> Predictions? {
        if let model = pipeline.model { ParameterGathering.scatter(from: complete, into: model) }
        return try withBackbone(pipeline) {
            run.session.data.validatesByWriting
                ? try pipeline.write(validation, run.session.generation) : try pipeline.predict(validation)
        }
    }
}
