import ActivationCache
import MPI
import Models
import Reporting
import Stages
import Support
import TextData

/// Runs epochs, each with its evaluation, its place in the trace and its lines in the log; the phases do the training.
struct EpochRunner {
    private let run: RunContext
    private let context: RankContext
    private let data: RunData

    init(_ run: RunContext) {
        self.run = run
        context = run.context
        data = run.session.data
    }

    /// Trains an epoch through the stages, as far as it is not behind the run, and evaluates. Collective over the world.
    ///
    /// - Returns: the metrics, on rank 0.
    func throughStages(
        _ epoch: Int, _ pipeline: PipelinePhase, _ state: TrainingState, cache: CacheStore?
    ) throws -> Metrics? {
        let start = context.moment
        run.messageProgress?.resume()
        defer { run.messageProgress?.pause() }
        let checkpoints = run.saver.checkpoints
        try context.trace.measureAlways("epoch \(epoch)", .epoch, epoch: epoch) {
            try pipeline.trainEpoch(
                epoch, run.course.remainingMiniBatches(epoch: epoch, state), of: run.train,
                dropout: run.course.dropout(epoch: epoch), state, filling: cache?.filling(.train),
                reporter: run.reporter,
                checkpoint: StepCheckpoint(isDue: checkpoints.isDue) {
                    try checkpoints.save(from: pipeline.model?.parameters, state, epochIsClosed: false)
                })
        }
        try run.reporter.epoch(
            epoch, phase: .pipeline, loss: state.epochLoss.mean, try context.elapsed(since: start))
        return try evaluate(epoch) { validation in
            data.validatesByWriting
                ? try pipeline.write(validation, run.session.generation)
                : try pipeline.predict(validation, filling: cache?.filling(.validation))
        }
    }

    /// Trains an epoch from the cache, as far as it is not behind the run, and evaluates. Collective over the world.
    ///
    /// - Parameters: `training` returns the seconds that this rank waited for its disk; `predicting` is asked for the
    ///   predictions of the validation split.
    /// - Returns: the metrics, on rank 0.
    func fromCache(
        _ epoch: Int, _ state: TrainingState, training: () throws -> Double,
        predicting: (SplitSamples) throws -> Predictions?
    ) throws -> Metrics? {
        let start = context.moment
        context.ledger.activity = "epoch \(epoch) from the cache"
        let waited = try context.trace.measureAlways("epoch \(epoch)", .epoch, epoch: epoch, training)
        try run.reporter.epoch(
            epoch, phase: .cached, loss: state.epochLoss.mean, try context.elapsed(since: start),
            waitedForDisk: waited)
        return try evaluate(epoch, predicting)
    }

    /// Runs mini-batches of each split through the backbone, so that all epochs can run from the cache. Collective over the
    /// world.
    func streamActivations(
        _ pipeline: PipelinePhase, _ passing: [Split: [[Int]]], into cache: CacheStore
    ) throws {
        let start = context.moment
        run.messageProgress?.resume()
        defer { run.messageProgress?.pause() }
        let total = passing.values.joined().reduce(0) { $0 + $1.count }
        var done = 0
        for split in Split.allCases {
            guard let samples = data.splits[split], let miniBatches = passing[split] else { continue }
            try context.trace.measureAlways("\(split.rawValue) activations", .forward) {
                try pipeline.record(miniBatches, of: samples, filling: cache.filling(split)) { count in
                    done += miniBatches[count - 1].count
                    run.reporter.activations(
                        done, of: total, seconds: context.moment.seconds - start.seconds)
                }
            }
        }
        try run.reporter.activations(total, try context.elapsed(since: start))
    }

    /// Measures the validation split, where there is one. Collective over the world.
    ///
    /// - Parameter predicting: is asked for the predictions; nil on ranks other than 0, or where there are none to measure.
    /// - Returns: the metrics, on rank 0.
    private func evaluate(_ epoch: Int, _ predicting: (SplitSamples) throws -> Predictions?) throws
        -> Metrics?
    {
        guard let validation = data.validation else { return nil }
        let start = MonotonicClock.seconds
        let predictions = try context.trace.measureAlways("evaluation", .evaluation, epoch: epoch) {
            try predicting(validation)
        }
        var metrics: Metrics?
        try context.world.onRoot {
            guard let predictions else { return }
            let measured = try predictions.metrics(data.task!, validation.dataset)
            try run.reporter.evaluation(
                epoch, measured, samples: validation.count, seconds: MonotonicClock.seconds - start)
            metrics = measured
        }
        return metrics
    }
}
