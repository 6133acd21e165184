import Cluster
import MPI
import Models
import Support
import TextData

/// One run: plan, first epoch through the stages while the cache fills, redistribution, cached epochs, evaluation, saved
/// adapter; or the rest of it, where an earlier launch stopped.
package final class Trainer {
    private let run: RunContext
    private var pipelineRun: PipelineRun?
    private var cachedRun: CachedRun?

    /// What a run ended with, on rank 0.
    package struct Summary: Sendable {
        package let directory: RunDirectory
        /// nil without validation, and for a run that had come to its end before.
        package let metrics: Metrics?
        package let seconds: Double
    }

    /// Finds where to go on, profiles, plans and opens the run directory. Collective over the world.
    package init(_ session: Session, _ start: RunDirectory.Start) throws {
        run = try RunContext(session, start)
    }

    /// Trains. Collective over the world.
    ///
    /// A run that fails still writes its trace: of all ranks when they fail together, otherwise of rank 0 only. A rank that
    /// ends alone, or because another one did, saves what it can.
    package func train() throws -> Summary {
        do {
            return try trainToTheEnd()
        } catch {
            // The reason is told before anything is saved: a launcher may kill this process while it saves.
            if let failure = error as? Failure, failure.isolation != nil { LoneFailure.tell(failure) }
            do {
                if (error as? Failure)?.isShared == true {
                    try run.saver.traceLog.write()
                } else {
                    try pipelineRun?.saveAlone()
                    try cachedRun?.saveAlone()
                    if run.context.world.rank == 0 { try run.saver.traceLog.writeAlone() }
                }
            } catch let second {
                // The caller tells why the run ended; this is a second failure.
                run.reporter.note("some state could not be saved: \(second)")
            }
            throw error
        }
    }

    private func trainToTheEnd() throws -> Summary {
        if let checkpoint = run.resumed?.checkpoint, run.firstEpoch > run.course.lastEpoch {
            run.reporter.note(
                "\(run.directory.path) is complete, after \(checkpoint.step) steps: nothing is left to do"
            )
            // Its end may have been cut short.
            if !run.session.experiment.cache.keep {
                try run.context.world.agree { try run.directory.cache.removeFiles() }
            }
            return Summary(directory: run.directory, metrics: nil, seconds: run.reporter.seconds)
        }
        let metrics: Metrics?
        if let cache = run.cache, let technique = run.session.experiment.technique.side {
            let cached = try CachedRun(run, technique, cache.contents, cache.extent)
            cachedRun = cached
            metrics = try cached.train()
        } else {
            let pipeline = try PipelineRun(run)
            pipelineRun = pipeline
            metrics = try pipeline.train()
        }
        return Summary(directory: run.directory, metrics: metrics, seconds: run.reporter.seconds)
    }
}
