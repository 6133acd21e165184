import MPI
import Models
import Plans
import Reporting
import Support
import TensorCore
import TextData

/// A run from the cache that another run has kept: every epoch, data-parallel, without a backbone, on any number of ranks.
///
/// Its numbers are those of a training run with the same settings, to the order in which floats are added.
public final class ReplayRun {
    private let run: RunContext
    private let session: Session
    private let store: CacheStore
    private let model: StageModel
    private let state: TrainingState

    /// Reads the experiment, opens the cache and makes the model. Collective over the world.
    ///
    /// - Parameters: `source` is the directory of the run that kept the cache, or its experiment; `overwrites` replaces an
    ///   existing directory.
    /// - Throws: on all ranks, when the cache belongs to another model, tokenizer, data set, length or precision.
    public init(_ source: String, overrides: [String], overwrites: Bool, world: consuming Communicator)
        throws
    {
        // The cache is that of the run as it was; what is trained from it goes beside it.
        let changesDirectory = overrides.contains { $0.hasPrefix("output.directory=") }
        let isDirectory = try world.fromRoot { fileExists(source + "/experiment.json") ? [1] : [] } == [1]
        let path = isDirectory ? source + "/experiment.json" : source
        let kept = try world.fromRoot { Array(try Experiment(contentsOf: path).json.text().utf8) }
        let original = RunDirectory(
            of: try Experiment(JSONReader(JSONValue(parsing: kept, file: path), file: path)),
            at: isDirectory ? source : nil)
        let session = try Session(
            world: world, experimentPath: path, overrides: overrides, data: .trainAndValidation,
            weights: .cache(original)
        ) { experiment in
            if !changesDirectory { experiment.output.directory = original.path + "-replay" }
            experiment.cache.keep = false
        }
        self.session = session
        guard let technique = session.experiment.technique as? ParallelAdapters else {
            throw Failure.configuration(
                "technique.kind: expected \"parallel_adapters\", the one technique that trains from a cache, found "
                    + "\"\(session.experiment.technique.kind)\""
            ).shared
        }
        var store: CacheStore?
        let run = try RunContext(session, overwrites ? .overwrite : .new, choose: Self.plan) { directory in
            guard directory.cachePath != original.cachePath else {
                throw Failure.configuration(
                    "output.directory: expected another run than the one whose cache is used, found \(directory.path)"
                ).shared
            }
            let kept = try CacheStore(session, technique, directory, earlier: .kept(original))
            try Self.check(kept, session, technique)
            store = kept
        }
        self.run = run
        self.store = store!
        model = try session.world.agree {
            try StageModel(
                run.family, session.modelConfiguration, steps: run.allSteps,
                frozen: session.model.frozenSource(session.ledger), withBackbone: false,
                ledger: session.ledger)
        }
        state = run.makeState(parameterCount: model.parameters.count, completedSteps: 0)
        let start = try ParameterStart(session)
        try session.world.agree { [model] in try start.initialize(model) }
        run.reporter.expect(
            pipelineSteps: 0, cachedSteps: run.plannedSteps, completedSteps: 0,
            epochs: session.experiment.training.epochs, closedEpochs: 0,
            evaluationShare: Double(session.validation?.count ?? 0) / Double(run.train.count))
    }

    /// Checks that the cache has all that a run needs. Collective over the world.
    private static func check(_ store: CacheStore, _ session: Session, _ technique: ParallelAdapters) throws {
        if technique.initialization == .pruned {
            // The first step alone tells whether the factor will do.
            try session.world.agree {
                _ = try session.model.cached!.sideInitialization(
                    session.model.family, technique, steps: session.model.family.steps(of: 0..<1))
            }
        }
        let inventory = try store.inventory()
        for (split, dataset) in [(Split.train, session.train), (.validation, session.validation)] {
            guard let dataset, store.keeps(split) else { continue }
            let missing = inventory.missing(split, of: 0..<dataset.count)
            guard missing.isEmpty else {
                throw Failure.configuration(
                    "\(session.model.cached!.place): /\(split.rawValue): expected all \(dataset.count) samples, found "
                        + "\(dataset.count - missing.count): the run that kept the cache did not complete it, or a file of "
                        + "it is missing"
                ).shared
            }
        }
    }

    /// One stage of all ranks, each with an equal part of a mini-batch.
    private static func plan(_ session: Session) throws -> PlanChooser.Choice {
        let (size, ranks) = (session.experiment.training.miniBatchSize, session.world.size)
        let share = (0..<ranks).map { (size * ($0 + 1)) / ranks - size * $0 / ranks }
        let layers = 0..<session.model.family.plannerLayers.count
        return PlanChooser.Choice(
            plan: Plan(
                stages: [StagePlan(layers: layers, ranks: Array(0..<ranks), share: share)], microBatchCount: 1
            ),
            profile: nil, worldSize: ranks)
    }

    /// Trains. Collective over the world.
    public func train() throws -> Trainer.Summary {
        let needs = run.needs(store)
        let start = MonotonicClock.seconds
        let bytes = try store.redistribute(needs, isWhole: true)
        let moved = try session.world.allReduceSum(Int64(bytes))
        if moved > 0 {
            run.reporter.note(
                "moved \(Format.bytes(Int(moved))) of the cache to the ranks that train them in "
                    + Format.duration(MonotonicClock.seconds - start))
        }
        if session.validatesByWriting, session.validation != nil {
            run.reporter.note(
                "no validation: writing texts needs the model's weights; use evaluate --adapter afterwards")
        }
        let cached = CachedPhase(session, model, store.shape, thread: store.thread, owners: run.choice.owners)
        MemoryReport.reset(session)
        var metrics: Metrics?
        for epoch in 1...max(1, run.lastEpoch) {
            metrics =
                try run.cachedEpoch(epoch, state) {
                    let miniBatches = session.remainingMiniBatches(run.train, epoch: epoch, state)
                    return try cached.train(
                        miniBatches, epoch: epoch, isEpochsEnd: true, run.train, from: store.files, state,
                        reporter: run.reporter, checkpoint: .never)
                } predicting: { dataset in
                    session.validatesByWriting ? nil : try cached.predict(dataset, from: store.files)
                } ?? metrics
            try run.save(model, state)
        }
        try MemoryReport.log(.cached, session, run.reporter)
        try store.close(keep: false)
        try run.end(state)
        return Trainer.Summary(directory: run.directory, metrics: metrics, seconds: run.reporter.seconds)
    }
}
