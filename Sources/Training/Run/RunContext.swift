import ActivationCache
import Cluster
import Configuration
import MPI
import Models
import Reporting
import Simulation
import Stages
import Support
import TensorCore
import TextData

/// What all phases of a run share: its session, plan, directory, course and reports, and where it started from.
final class RunContext {
    let session: Session
    let context: RankContext
    let model: TunedModel
    /// The training split.
    let train: SplitSamples
    let course: RunCourse
    let directory: RunDirectory
    let choice: PlanChooser.Choice
    /// Which trained tensors each stage holds.
    let layout: TrainedLayout
    /// Where the run goes on; nil for one that begins.
    let resumed: ResumePoint?
    let reporter: RunReporter
    let saver: RunSaver
    /// Moves messages between hosts while stages compute; nil where all ranks share one.
    let messageProgress: MessageProgress?
    /// What a cache of the run would be of, and how much of it there is room for; nil without one.
    let cache: (contents: CacheContents, extent: CacheExtent)?

    /// Finds where to go on, plans and opens the run directory. Collective over the world.
    ///
    /// - Parameters: `choose` finds the plan of a run that begins; `prepare` checks what else could be wrong, before anything
    ///   is made or changed.
    init(
        _ session: Session, _ start: RunDirectory.Start,
        choose: (Session) throws -> PlanChooser.Choice = PlanChooser.choose,
        prepare: (RunDirectory) throws -> Void = { _ in }
    ) throws {
        guard let train = session.data.train else { preconditionFailure("training needs the training data") }
        let (context, experiment, model) = (session.context, session.experiment, session.model)
        self.session = session
        self.context = context
        self.model = model
        self.train = train
        let course = RunCourse(experiment, model.family, sampleCount: train.count)
        self.course = course
        try RunDirectory.check(experiment, world: context.world)
        let hosts = try HostDescription.gather(context.world)
        let names = hosts.map(\.host)
        let subject = TrainingCheckpoint.Subject(experiment, model, session.data)
        let place = try Self.place(experiment, start, subject, context)
        directory = place.directory
        resumed = place.resumed
        let choice =
            try place.resumed.flatMap {
                try PlanChooser.Choice(resuming: $0.checkpoint, names, place.directory, session)
            } ?? choose(session)
        self.choice = choice
        layout = try model.layout(choice.plan)
        cache = try Self.cache(session, course, choice, place.directory)
        try prepare(place.directory)
        // Nothing of an older run is touched before all that can be wrong has been checked.
        try place.directory.make(experiment, place.start, world: context.world)
        let reporter = try Self.reporter(place, begun: session.start, context)
        self.reporter = reporter
        saver = try RunSaver(
            session, place.directory, choice, layout, subject, hosts: names,
            resumed: place.resumed?.checkpoint)
        messageProgress = Set(context.world.hosts).count > 1 ? try MessageProgress(for: context.world) : nil
        let (resumed, note) = (place.resumed, cache?.extent.note)
        try context.world.onRoot {
            try writeFileAtomically(
                choice.plan.json.text(indented: true) + "\n", to: place.directory.planPath)
            if let profile = choice.profile {
                try writeFileAtomically(
                    profile.json.text(indented: true) + "\n", to: place.directory.profilePath)
            }
            try RunHeader(session: session, choice: choice, hosts: hosts, directory: place.directory).write(
                reporter, isNew: resumed == nil)
            if let note { reporter.note(note) }
        }
    }

    /// Where a run is, how it begins there, and where it goes on.
    private typealias Place = (directory: RunDirectory, start: RunDirectory.Start, resumed: ResumePoint?)

    /// Finds the directory and, to resume, the newest checkpoint. Collective over the world.
    private static func place(
        _ experiment: Experiment, _ start: RunDirectory.Start, _ subject: TrainingCheckpoint.Subject,
        _ context: RankContext
    ) throws -> Place {
        let directory = try RunDirectory.choose(experiment, start, world: context.world)
        guard start == .resume else { return (directory, start, nil) }
        if let resumed = try ResumePoint.find(directory, subject, context.world) {
            return (directory, start, resumed)
        }
        // What is there without a checkpoint is not ours to go on with, nor to replace.
        return (try RunDirectory.choose(experiment, .new, world: context.world), .new, nil)
    }

    /// Fits a cache to the disks; nil for a run that fills none. Collective over the world.
    private static func cache(
        _ session: Session, _ course: RunCourse, _ choice: PlanChooser.Choice, _ directory: RunDirectory
    ) throws -> (contents: CacheContents, extent: CacheExtent)? {
        let (experiment, data, context) = (session.experiment, session.data, session.context)
        guard session.model.files.cached == nil, experiment.fillsCache(sampleCount: data.train!.count),
            let contents = try session.cacheContents()
        else { return nil }
        let validation = contents.readsValidation ? data.validation : nil
        let room = try CacheRoom.find(directory.cache, budget: experiment.cache.budget, context.world)
        do {
            return (
                contents,
                try CacheExtent(
                    CacheFootprint(
                        contents, choice.plan, owners: choice.owners, worldSize: context.world.size),
                    train: Array(course.miniBatches(epoch: 1).prefix(course.plannedSteps)),
                    validation: experiment.training.miniBatches(sampleCount: validation?.count ?? 0),
                    within: room)
            )
        } catch let failure as Failure {
            // All ranks compute the same.
            throw failure.shared
        }
    }

    /// Opens the log, and takes up its clock where the run goes on. Collective over the world.
    private static func reporter(_ place: Place, begun: Double, _ context: RankContext) throws -> RunReporter
    {
        let isRoot = context.rank == 0
        let reporter = try context.world.agree {
            var before = 0.0
            if isRoot, let checkpoint = place.resumed?.checkpoint {
                before = try MetricsLog.rewind(
                    place.directory.metricsPath, toStep: checkpoint.step, isClosed: checkpoint.epochIsClosed)
            }
            return try RunReporter(directory: isRoot ? place.directory.path : nil, start: begun - before)
        }
        reporter.peakBytes = { context.ledger.peakTotalBytes }
        return reporter
    }

    // MARK: The course of a run

    /// The epoch that the run is in when it starts.
    var firstEpoch: Int { course.firstEpoch(after: resumed?.checkpoint) }

    /// The epochs that are not behind the run, from `first` on.
    func remainingEpochs(from first: Int? = nil) -> Range<Int> {
        let first = first ?? firstEpoch
        return first..<max(first, course.lastEpoch + 1)
    }

    /// Builds the stages of the plan. Collective over the world.
    func makePipeline() throws -> PipelinePhase {
        try PipelinePhase(
            model, choice.plan, session.experiment, on: context)
    }

    /// Where training starts. Collective over the world.
    func makeStart() throws -> ParameterStart {
        try ParameterStart(model, seed: session.experiment.training.seed, context.world)
    }

    /// The state of a run's training: where it goes on, or behind an earlier state of this launch.
    func makeState(parameterCount: Int, after earlier: TrainingState? = nil) -> TrainingState {
        let state = TrainingState(
            session.experiment, course, parameterCount: parameterCount, ledger: context.ledger,
            completedSteps: earlier?.completedSteps ?? resumed?.checkpoint.step ?? 0)
        if let earlier {
            state.takeUp(earlier.epochLoss)
        } else if let loss = resumed?.checkpoint.epochLoss {
            state.takeUp(EpochLoss(epoch: firstEpoch, sum: loss.sum, samples: loss.samples))
        }
        return state
    }

    /// Sets values and the optimizer to where the run goes on. Collective over the world.
    func restore(_ own: ParameterBucket?, _ state: TrainingState) throws {
        try resumed!.restore(layout.complete, into: own, state.optimizer, on: context)
    }

    /// Tells the progress line what lies ahead.
    ///
    /// - Parameter cachedFrom: the first epoch that runs from the cache; nil where none does.
    func expect(cachedFrom first: Int?) {
        let completed = resumed?.checkpoint.step ?? 0
        let planned = course.plannedSteps
        let pipelineEnd = first.map { min(($0 - 1) * course.stepsPerEpoch, planned) } ?? planned
        let pipelineSteps = max(0, pipelineEnd - completed)
        reporter.expect(
            pipelineSteps: pipelineSteps, cachedSteps: planned - completed - pipelineSteps,
            completedSteps: completed, epochs: session.experiment.training.epochs,
            closedEpochs: firstEpoch - 1,
            evaluationShare: Double(session.data.validation?.count ?? 0) / Double(train.count))
    }

    /// Logs the end. Collective over the world.
    func end(_ state: TrainingState) throws {
        try messageProgress?.stop()
        try reporter.event(
            .end, [("seconds", JSONValue(reporter.seconds)), ("steps", JSONValue(state.completedSteps))])
    }
}

extension Session {
    /// What a cache of this session holds; nil for a technique that trains from none.
    func cacheContents() throws -> CacheContents? {
        guard let technique = experiment.technique.side else { return nil }
        return CacheContents(
            CacheIdentity(
                modelHash: model.files.fingerprint, tokenizerHash: data.tokenizerFingerprint,
                dataHash: data.fingerprint, family: model.family.name,
                maximumSequenceLength: experiment.task.maximumSequenceLength,
                precision: experiment.cache.precision),
            model.family, sideStacks: try technique.sideDescription(model.family).stacks,
            samples: data.splits, readsValidation: !data.validatesByWriting)
    }
}
