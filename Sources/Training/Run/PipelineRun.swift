import MPI
import Models
import Stages
import Support
import TensorCore
import TextData

/// A run whose epochs all pass through the stages: techniques that train inside the backbone, and runs without a cache.
final class PipelineRun {
    private let run: RunContext
    private let pipeline: PipelinePhase
    private let state: TrainingState

    /// Builds the stages and sets what is trained to its start, or to where the run stopped. Collective over the world.
    init(_ run: RunContext) throws {
        self.run = run
        pipeline = try run.makePipeline()
        state = run.makeState(parameterCount: pipeline.model?.parameters.count ?? 0)
        run.expect(cachedFrom: nil)
        let own = pipeline.model?.parameters
        if let resumed = run.resumed {
            try run.restore(own, state)
            try run.reporter.resumed(resumed, epoch: run.firstEpoch, ranks: run.context.world.size)
        } else {
            try pipeline.initialize(try run.makeStart())
            try run.saver.checkpoints.save(from: own, state, epochIsClosed: false)
        }
    }

    /// Trains. Collective over the world.
    ///
    /// - Returns: the last metrics, on rank 0.
    func train() throws -> Metrics? {
        MemoryReport.reset(run.context.ledger)
        let epochs = EpochRunner(run)
        var metrics: Metrics?
        for epoch in run.remainingEpochs() {
            metrics = try epochs.throughStages(epoch, pipeline, state, cache: nil) ?? metrics
            try run.saver.save(stages: pipeline.model?.parameters, state)
        }
        try MemoryReport.log(.pipeline, run.context, run.reporter)
        try run.end(state)
        return metrics
    }

    /// Saves what can be saved when this rank ends alone: where the run stands, if the rank has all of it. Not collective.
    func saveAlone() throws {
        guard let model = pipeline.model, run.choice.plan.stages.count == 1 else { return }
        try run.saver.checkpoints.saveAlone(model.parameters, state)
    }
}
