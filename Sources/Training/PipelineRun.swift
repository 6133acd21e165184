import MPI
import Models
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
        pipeline = try PipelinePhase(run.session, run.choice.plan)
        state = run.makeState(
            parameterCount: pipeline.model?.parameters.count ?? 0,
            completedSteps: run.resumed?.checkpoint.step ?? 0)
        run.expect(cachedFrom: nil)
        if let resumed = run.resumed {
            try resumed.restore(
                try run.declarations(), into: pipeline.model?.parameters, state.optimizer,
                session: run.session)
            try run.reporter.resumed(resumed, epoch: run.firstEpoch, run.session)
        } else {
            try pipeline.initialize(try ParameterStart(run.session))
            try run.saveCheckpoint(pipeline, state, epochIsClosed: false)
        }
    }

    /// Trains. Collective over the world.
    ///
    /// - Returns: the last metrics, on rank 0.
    func train() throws -> Metrics? {
        MemoryReport.reset(run.session)
        var metrics: Metrics?
        for epoch in run.firstEpoch...max(run.firstEpoch, run.lastEpoch) where epoch <= run.lastEpoch {
            metrics = try run.pipelineEpoch(epoch, pipeline, state, cache: nil) ?? metrics
            try run.save(pipeline, state)
        }
        try MemoryReport.log(.pipeline, run.session, run.reporter)
        try run.end(state)
        return metrics
    }

    /// Saves what can be saved when this rank ends alone: where the run stands, if the rank has all of it. Not collective.
    func saveAlone() throws {
        guard let model = pipeline.model, run.choice.plan.stages.count == 1 else { return }
        try run.checkpoints.saveAlone(model.parameters, state)
    }
}
