import ActivationCache
import Configuration
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
package final class ReplayRun {
    private let run: RunContext
    private let session: Session
    private let store: CacheStore
    private let needs: CacheNeeds
    private let model: StageModel
    private let state: TrainingState

    /// Reads the experiment, opens the cache and makes the model. Collective over the world.
    ///
    /// - Parameters: `source` is the directory of the run that kept the cache, or its experiment; `overwrites` replaces an
    ///   existing directory.
    /// - Throws: on all ranks, when the cache belongs to another model, tokenizer, data set, length or precision.
    package init(_ source: String, overrides: [String], overwrites: Bool, world: consuming Communicator)
        throws
    {
        // The cache is that of the run as it was; what is trained from it goes beside it.
        let changesDirectory = overrides.contains { $0.hasPrefix("output.directory=") }
        let isDirectory = try world.fromRoot { fileExists(source + "/experiment.json") ? [1] : [] } == [1]
        let path = isDirectory ? source + "/experiment.json" : source
        let kept = try world.jsonFromRoot(path) { try Experiment(contentsOf: path).json }
        let original = RunDirectory(
            of: try Experiment(kept),
            at: isDirectory ? source : nil)
        let session = try Session(
            world: world, experimentPath: path, overrides: overrides, data: .trainAndValidation,
            weights: .cache(original.cache)
        ) { experiment in
            if !changesDirectory { experiment.output.directory = original.path + "-replay" }
            experiment.cache.keep = false
        }
        self.session = session
        guard let technique = session.experiment.technique.side else {
            throw Failure.configuration(
                "technique.kind: expected \"\(ParallelAdapters.kind)\", the one technique that trains from a cache, found "
                    + "\"\(session.experiment.technique.kind)\""
            ).shared
        }
        let contents = try session.cacheContents()!
        var store: CacheStore?
        let run = try RunContext(session, overwrites ? .overwrite : .new, choose: Self.plan) { directory in
            guard directory.cache != original.cache else {
                throw Failure.configuration(
                    "output.directory: expected another run than the one whose cache is used, found \(directory.path)"
                ).shared
            }
            let kept = try CacheStore(
                contents, directory.cache, earlier: .kept(original.cache), on: session.context)
            try Self.check(kept, session, technique)
            store = kept
        }
        self.run = run
        self.store = store!
        needs = CacheNeeds(
            run.course, session.experiment.training, contents, owners: run.choice.owners,
            residentSteps: run.course.stepsPerEpoch)
        let (context, tuned) = (session.context, session.model)
        model = try context.world.agree {
            try StageModel(
                tuned.family, tuned.configuration, steps: tuned.allSteps,
                frozen: tuned.files.frozenSource(context.ledger), withBackbone: false, ledger: context.ledger)
        }
        state = run.makeState(parameterCount: model.parameters.count)
        let start = try run.makeStart()
        try context.world.agree { [model] in try start.initialize(model) }
        run.reporter.expect(
            pipelineSteps: 0, cachedSteps: run.course.plannedSteps, completedSteps: 0,
            epochs: session.experiment.training.epochs, closedEpochs: 0,
            evaluationShare: Double(session.data.validation?.count ?? 0) / Double(run.train.count))
    }

    /// Checks that the cache has all that a run needs. Collective over the world.
    private static func check(_ store: CacheStore, _ session: Session, _ technique: ParallelAdapters) throws {
        if technique.initialization == .pruned {
            // Preparing the first step already checks the factor.
            try session.context.world.agree {
                _ = try session.model.files.cached!.sideInitialization(
                    session.model.family, technique, steps: session.model.family.steps(of: 0..<1))
            }
        }
        let inventory = try store.inventory()
        for split in Split.allCases {
            guard let samples = session.data.splits[split], store.keeps(split) else { continue }
            let missing = inventory.missing(split, of: 0..<samples.count)
            guard missing.isEmpty else {
                throw Failure.configuration(
                    "\(session.model.files.cached!.place): /\(split.rawValue): expected all \(samples.count) samples, found "
                        + "\(samples.count - missing.count): the run that kept the cache did not complete it, or a file of "
                        + "it is missing"
                ).shared
            }
        }
    }

    /// One stage of all ranks, each with an equal part of a mini-batch.
    private static func plan(_ session: Session) throws -> PlanChooser.Choice {
        let (size, ranks) = (session.experiment.training.miniBatchSize, session.context.world.size)
        let share = (0..<ranks).map { (size * ($0 + 1)) / ranks - size * $0 / ranks }
        let layers = 0..<session.model.family.plannerLayers.count
        return PlanChooser.Choice(
            plan: Plan(
                stages: [StagePlan(layers: layers, ranks: Array(0..<ranks), share: share)], microBatchCount: 1
            ),
            profile: nil, worldSize: ranks)
    }

    /// Trains. Collective over the world.
    package func train() throws -> Trainer.Summary {
        let start = MonotonicClock.seconds
        let bytes = try store.redistribute(needs.all(store), isWhole: true)
        let moved = try session.context.world.allReduceSum(Int64(bytes))
        if moved > 0 {
            run.reporter.note(
                "moved \(Format.bytes(Int(moved))) of the cache to the ranks that train them in "
                    + Format.duration(MonotonicClock.seconds - start))
        }
        let data = session.data
        if data.validatesByWriting, data.validation != nil {
            run.reporter.note(
                "no validation: writing texts needs the model's weights; use evaluate --adapter afterwards")
        }
        let cached = CachedPhase(
            model, store.shape, thread: store.thread, owners: run.choice.owners, on: session.context)
        MemoryReport.reset(session.context.ledger)
        let epochs = EpochRunner(run)
        var metrics: Metrics?
        for epoch in run.remainingEpochs() {
            let trained = try epochs.fromCache(epoch, state) {
                try cached.train(
                    run.course.remainingMiniBatches(epoch: epoch, state), epoch: epoch, isEpochsEnd: true,
                    of: run.train, from: store.files, dropout: run.course.dropout(epoch: epoch), state,
                    reporter: run.reporter, checkpoint: .never)
            } predicting: { validation in
                data.validatesByWriting
                    ? nil
                    : try cached.predict(
                        session.experiment.training.miniBatches(sampleCount: validation.count),
                        of: validation, from: store.files)
            }
            metrics = trained ?? metrics
            try run.saver.save(complete: model.parameters, state)
        }
        try MemoryReport.log(.cached, session.context, run.reporter)
        try store.close(keep: false)
        try run.end(state)
        return Trainer.Summary(directory: run.directory, metrics: metrics, seconds: run.reporter.seconds)
    }
}
