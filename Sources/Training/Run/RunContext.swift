import MPI
import Models
import Reporting
import Simulation
import Support
import TensorCore
import TextData

/// What all phases of a run share: its session, plan, directory and reports, where it started from, and how to evaluate
/// and to save.
final class RunContext {
    let session: Session
    let directory: RunDirectory
    let choice: PlanChooser.Choice
    /// Where the run goes on; nil for one that begins.
    let resumed: ResumePoint?
    let reporter: RunReporter
    let traceLog: TraceLog
    let checkpoints: CheckpointKeeper
    let train: TokenizedDataset
    /// Moves messages between hosts while stages compute; nil where all ranks share one.
    private let messageProgress: MessageProgress?
    /// How much of the data the cache holds; nil without one.
    let extent: CacheExtent?

    /// Finds where to go on, plans and opens the run directory. Collective over the world.
    ///
    /// - Parameters: `choose` finds the plan of a run that begins; `prepare` checks what else could be wrong, before anything
    ///   is made or changed.
    init(
        _ session: Session, _ start: RunDirectory.Start,
        choose: (Session) throws -> PlanChooser.Choice = PlanChooser.choose,
        prepare: (RunDirectory) throws -> Void = { _ in }
    ) throws {
        self.session = session
        guard let train = session.train else { preconditionFailure("training needs the training data") }
        self.train = train
        try RunDirectory.check(session.experiment, world: session.world)
        let hosts = try HostDescription.gather(session.world)
        let names = hosts.map(\.host)
        var start = start
        var directory = try RunDirectory.choose(session.experiment, start, world: session.world)
        let resumed = start == .resume ? try ResumePoint.find(directory, session) : nil
        if start == .resume, resumed == nil {
            // What is there without a checkpoint is not ours to go on with, nor to replace.
            start = .new
            directory = try RunDirectory.choose(session.experiment, start, world: session.world)
        }
        self.directory = directory
        self.resumed = resumed
        let choice =
            try resumed.flatMap { try PlanChooser.Choice(resuming: $0.checkpoint, names, directory, session) }
            ?? choose(session)
        self.choice = choice
        let experiment = session.experiment
        let technique =
            session.model.cached == nil && experiment.fillsCache(sampleCount: train.count)
            ? experiment.technique as? ParallelAdapters : nil
        let extent = try technique.map {
            try CacheExtent(
                session, choice, directory, $0,
                plannedSteps: TrainingState.plannedSteps(experiment, stepsPerEpoch: session.stepsPerEpoch))
        }
        self.extent = extent
        try prepare(directory)
        // Nothing of an older run is touched before all that can be wrong has been checked.
        try directory.make(session.experiment, start, world: session.world)
        let isRoot = session.world.rank == 0
        let reporter = try session.world.agree { [directory] in
            var before = 0.0
            if isRoot, let checkpoint = resumed?.checkpoint {
                before = try MetricsLog.rewind(
                    directory.metricsPath, toStep: checkpoint.step, isClosed: checkpoint.epochIsClosed)
            }
            return try RunReporter(directory: isRoot ? directory.path : nil, start: session.start - before)
        }
        self.reporter = reporter
        traceLog = try TraceLog(
            session, path: directory.tracePath,
            label: choice.plan.label(ofRank: session.world.rank) + " on \(names[session.world.rank])",
            predicted: choice.profile.map {
                Simulator(
                    profile: $0, costs: PlanChooser.costs(session.experiment, $0),
                    schedule: session.experiment.pipelineSchedule
                ).run(choice.plan).trace
            })
        messageProgress = Set(session.world.hosts).count > 1 ? try MessageProgress(for: session.world) : nil
        reporter.peakBytes = { session.ledger.peakTotalBytes }
        let started = try session.world.fromRoot {
            Array("\(resumed?.checkpoint.started ?? WallClock.seconds)".utf8)
        }
        checkpoints = try CheckpointKeeper(
            session, directory, plan: choice.plan, owners: choice.owners, hosts: names,
            started: Double(String(decoding: started, as: UTF8.self))!,
            lastStep: resumed?.checkpoint.step ?? 0,
            reporter: reporter)
        try session.world.onRoot {
            try writeFileAtomically(choice.plan.json.text(indented: true) + "\n", to: directory.planPath)
            if let profile = choice.profile {
                try writeFileAtomically(profile.json.text(indented: true) + "\n", to: directory.profilePath)
            }
            try RunHeader(session: session, choice: choice, hosts: hosts, directory: directory).write(
                reporter, isNew: resumed == nil)
            if let note = extent?.note { reporter.note(note) }
        }
        if let resumed { reporter.takeUp(epoch: firstEpoch, loss: resumed.checkpoint.epochLoss) }
    }

    // MARK: The course of a run

    var family: any ModelFamily { session.model.family }
    var allSteps: [LayerStep] { family.steps(of: 0..<family.plannerLayers.count) }

    var stepsPerEpoch: Int { session.stepsPerEpoch }

    /// Updates after which the run ends.
    var plannedSteps: Int {
        TrainingState.plannedSteps(session.experiment, stepsPerEpoch: stepsPerEpoch)
    }

    /// The epoch of the last update.
    var lastEpoch: Int { (plannedSteps + stepsPerEpoch - 1) / stepsPerEpoch }

    /// The epoch that the run is in when it starts: that of the last update while it is not closed.
    var firstEpoch: Int {
        guard let checkpoint = resumed?.checkpoint, checkpoint.step > 0 else { return 1 }
        let epoch = (checkpoint.step - 1) / stepsPerEpoch + 1
        return checkpoint.epochIsClosed ? epoch + 1 : epoch
    }

    func makeState(parameterCount: Int, completedSteps: Int) -> TrainingState {
        TrainingState(
            session.experiment, parameterCount: parameterCount, stepsPerEpoch: stepsPerEpoch,
            ledger: session.ledger, completedSteps: completedSteps)
    }

    /// Tells the progress line what lies ahead.
    ///
    /// - Parameter cachedFrom: the first epoch that runs from the cache; nil where none does.
    func expect(cachedFrom first: Int?) {
        let completed = resumed?.checkpoint.step ?? 0
        let pipelineEnd = first.map { min(($0 - 1) * stepsPerEpoch, plannedSteps) } ?? plannedSteps
        let pipelineSteps = max(0, pipelineEnd - completed)
        reporter.expect(
            pipelineSteps: pipelineSteps, cachedSteps: plannedSteps - completed - pipelineSteps,
            completedSteps: completed, epochs: session.experiment.training.epochs,
            closedEpochs: firstEpoch - 1,
            evaluationShare: Double(session.validation?.count ?? 0) / Double(train.count))
    }

    /// Measures predictions and reports them; the metrics on rank 0. Collective over the world.
    func evaluate(
        _ predictions: Predictions?, _ dataset: TokenizedDataset, _ epoch: Int, since start: Double
    ) throws -> Metrics? {
        var metrics: Metrics?
        try session.world.onRoot {
            guard let predictions else { return }
            let measured = try predictions.metrics(session.task!, dataset)
            try reporter.evaluation(
                epoch, measured, samples: dataset.count, seconds: MonotonicClock.seconds - start)
            metrics = measured
        }
        return metrics
    }

    /// Trains an epoch through the stages, as far as it is not behind the run, and evaluates. Collective over the world.
    ///
    /// - Returns: the metrics, on rank 0.
    func pipelineEpoch(
        _ epoch: Int, _ pipeline: PipelinePhase, _ state: TrainingState, cache: CacheStore?
    ) throws -> Metrics? {
        let start = session.moment
        messageProgress?.resume()
        defer { messageProgress?.pause() }
        try session.trace.measureAlways("epoch \(epoch)", .epoch, epoch: epoch) {
            try pipeline.trainEpoch(
                epoch, train, state, filling: cache?.filling(.train, train), reporter: reporter,
                checkpoint: StepCheckpoint(isDue: checkpoints.isDue) { [unowned self] in
                    try saveCheckpoint(pipeline, state, epochIsClosed: false)
                })
        }
        try reporter.epoch(epoch, phase: .pipeline, try session.elapsed(since: start))
        guard let validation = session.validation else { return nil }
        let evaluationStart = MonotonicClock.seconds
        let predictions = try session.trace.measureAlways("evaluation", .evaluation, epoch: epoch) {
            try pipeline.predict(
                validation, writes: session.validatesByWriting,
                filling: cache?.filling(.validation, validation), maximumLength: generationLength)
        }
        return try evaluate(predictions, validation, epoch, since: evaluationStart)
    }

    /// Runs mini-batches of each split through the backbone, so that all epochs can run from the cache. Collective over the
    /// world.
    func streamActivations(
        _ pipeline: PipelinePhase, _ passing: [Split: [[Int]]], into cache: CacheStore
    ) throws {
        let start = session.moment
        messageProgress?.resume()
        defer { messageProgress?.pause() }
        let total = passing.values.joined().reduce(0) { $0 + $1.count }
        var done = 0
        for (split, dataset) in [(Split.train, session.train), (.validation, session.validation)] {
            guard let dataset, let miniBatches = passing[split] else { continue }
            try session.trace.measureAlways("\(split.rawValue) activations", .forward) {
                try pipeline.record(
                    miniBatches, of: dataset, filling: cache.filling(split, dataset)
                ) { [reporter] index in
                    done += miniBatches[index - 1].count
                    reporter.activations(done, of: total, seconds: session.moment.seconds - start.seconds)
                }
            }
        }
        try reporter.activations(total, try session.elapsed(since: start))
    }

    /// Trains an epoch from the cache, as far as it is not behind the run, and evaluates. Collective over the world.
    ///
    /// - Parameters: `training` returns the seconds that this rank waited for its disk; `predicting` is asked for the
    ///   predictions of the validation split.
    /// - Returns: the metrics, on rank 0.
    func cachedEpoch(
        _ epoch: Int, _ state: TrainingState, training: () throws -> Double,
        predicting: (TokenizedDataset) throws -> Predictions?
    ) throws -> Metrics? {
        let start = session.moment
        session.ledger.activity = "epoch \(epoch) from the cache"
        let waited = try session.trace.measureAlways("epoch \(epoch)", .epoch, epoch: epoch, training)
        try reporter.epoch(
            epoch, phase: .cached, try session.elapsed(since: start), waitedForDisk: waited)
        guard let validation = session.validation else { return nil }
        let evaluationStart = MonotonicClock.seconds
        let predictions = try session.trace.measureAlways("evaluation", .evaluation, epoch: epoch) {
            try predicting(validation)
        }
        return try evaluate(predictions, validation, epoch, since: evaluationStart)
    }

    /// The splits that a cache keeps, each with the samples that it needs and the rank that owns each.
    func needs(_ store: CacheStore) -> CacheStore.Needs {
        [(Split.train, session.train), (.validation, session.validation)].compactMap { split, dataset in
            guard let dataset, store.keeps(split) else { return nil }
            let isShuffled = split == .train && session.experiment.training.isShuffled
            // Of a run that ends within its first epoch, only what that epoch saw.
            let miniBatches = session.order(sampleCount: dataset.count, isShuffled: isShuffled)
                .miniBatches(epoch: 1).prefix(split == .train ? plannedSteps : Int.max)
            let resident = store.resident[split]
            return (split, dataset, owned(miniBatches).filter { resident?.contains($0.sample) ?? true })
        }
    }

    /// The mini-batches of each split that a cache keeps which the stages have still to compute, in their order.
    func passing(_ store: CacheStore, _ state: TrainingState) -> [Split: [[Int]]] {
        var passing: [Split: [[Int]]] = [:]
        let resident = extent?.residentSteps ?? stepsPerEpoch
        passing[.train] = Array(session.remainingMiniBatches(train, epoch: 1, state).prefix(resident))
        if let validation = session.validation, store.keeps(.validation) {
            passing[.validation] = session.order(sampleCount: validation.count, isShuffled: false)
                .miniBatches(epoch: 1)
        }
        return passing
    }

    /// Bytes that this rank has left beside what its part of the plan takes. Not collective.
    func spareBytes() throws -> Int {
        let (rank, hosts) = (session.world.rank, session.world.hosts)
        // An eighth: the plan was made for what was free, and others may want of it too.
        let free = try HostResources.availableMemoryBytes(rank: rank, hosts: hosts) / 8
        guard let budget = session.memoryBudget else { return free }
        guard let place = Placement(choice.plan, rank: rank) else {
            return min(free, session.ledger.headroom)
        }
        // What an own plan takes is not known beforehand.
        guard let stage = choice.plan.predicted?.stages[place.stageIndex] else { return 0 }
        return max(0, min(free, budget - stage.memoryBytes[place.position]))
    }

    /// The samples of mini-batches, with the rank that owns each.
    func owned(_ miniBatches: some Sequence<[Int]>) -> [Redistribution.Owned] {
        miniBatches.flatMap { samples in samples.enumerated().map { (sample: $1, owner: choice.owners[$0]) } }
    }

    /// Logs the end. Collective over the world.
    func end(_ state: TrainingState) throws {
        try messageProgress?.stop()
        try reporter.event(
            "end", [("seconds", JSONValue(reporter.seconds)), ("steps", JSONValue(state.completedSteps))])
    }

    // MARK: Saving

    /// The trained tensors of all stages.
    func declarations() throws -> [ParameterBucket.Declaration] {
        try StageModel.declarations(family, session.modelConfiguration, steps: allSteps)
    }

    /// Saves what the stages hold at the end of an epoch, each handing on its own: the adapter, a checkpoint and the trace.
    /// Collective over the world.
    func save(_ pipeline: PipelinePhase, _ state: TrainingState) throws {
        let declarations = try declarations()
        try session.trace.measureAlways("save", .save) {
            let writer = try makeAdapterWriter(declarations)
            try ParameterGathering.stream(
                declarations, from: pipeline.model?.parameters, pipeline.model?.parameters.values,
                plan: choice.plan, session: session, to: [0]
            ) { try writer!.append($0) }
            try session.world.onRoot { try writer!.finish() }
            try saveCheckpoint(pipeline, state, epochIsClosed: true)
        }
        try traceLog.write()
    }

    /// Saves a complete model at the end of an epoch, which every rank has: the adapter, a checkpoint and the trace.
    /// Collective over the world.
    func save(_ complete: StageModel, _ state: TrainingState) throws {
        try session.trace.measureAlways("save", .save) {
            let writer = try makeAdapterWriter(complete.parameters.declarations)
            try session.world.onRoot {
                let values = complete.parameters.values
                try writer!.append(UnsafeBufferPointer(start: values.pointer, count: values.count))
                try writer!.finish()
            }
            try session.world.agree {
                try checkpoints.save(complete.parameters, state, epochIsClosed: true)
            }
        }
        try traceLog.write()
    }

    /// Saves where a run through the stages stands. Collective over the world.
    func saveCheckpoint(_ pipeline: PipelinePhase, _ state: TrainingState, epochIsClosed: Bool) throws {
        try checkpoints.save(
            try declarations(), from: pipeline.model?.parameters, state, epochIsClosed: epochIsClosed)
    }

    /// Begins the adapter's files; nil but on rank 0. Collective over the world.
    private func makeAdapterWriter(_ declarations: [ParameterBucket.Declaration]) throws -> AdapterWriter? {
        try session.world.agree {
            guard let task = session.task else { return nil }
            return try AdapterWriter(
                directory.adapterPath, declarations, session: session, task: task,
                maximumGenerationLength: generationLength)
        }
    }

    /// Room for a text somewhat longer than any that was trained on.
    var generationLength: Int {
        train.hasTargets ? train.maximumTargetLength + 8 : session.experiment.task.maximumSequenceLength
    }
}
