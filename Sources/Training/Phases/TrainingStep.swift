import Models
import Reporting
import Stages
import Support
import TensorCore

/// A step of training, and how it ends, in both phases alike: one sum over the world tells every rank the loss, the norm of
/// the gradients, whether a disk has failed and whether it is time for a checkpoint; then the optimizer updates.
struct TrainingStep {
    let epoch: Int
    let phase: TrainingPhase
    /// The mini-batch.
    let samples: [Int]
    let builder: BatchBuilder
    let start: Moment

    /// What this rank adds to the sums over the world.
    struct Contribution {
        /// The sum of the loss terms that it computed.
        var lossSum = 0.0
        /// Squares of its gradients: each parameter's on one rank alone.
        var squaredNorm = 0.0
        /// Whether its disk has failed.
        var hasFailed = false
    }

    /// How a step came out, on all ranks alike.
    enum Outcome {
        /// Some rank's disk has failed: nothing was updated.
        case failed
        case updated(isCheckpointDue: Bool)
    }

    /// Ends the step. Collective over the world.
    ///
    /// - Parameter parameters: with their summed gradients; nil on a rank that trains none.
    func finish(
        _ own: Contribution, updating parameters: ParameterBucket?, _ state: TrainingState,
        checkpoint: StepCheckpoint, reporter: RunReporter, on context: RankContext
    ) throws -> Outcome {
        var totals = [
            own.lossSum, own.squaredNorm, own.hasFailed ? 1 : 0,
            checkpoint.isDue(state.completedSteps + 1) ? 1 : 0,
        ]
        try context.trace.measure("totals", .allReduce) {
            try totals.withUnsafeMutableBufferPointer { try context.world.allReduceSum($0) }
        }
        if totals[2] > 0 { return .failed }
        let rate = state.learningRate
        if let parameters {
            context.trace.measure(.optimizerStep) { state.step(parameters, squaredNorm: totals[1]) }
        } else {
            state.skip()
        }
        let loss = totals[0] / Double(builder.termCount(samples))
        state.add(loss: loss, samples: samples.count, epoch: epoch)
        let end = context.moment
        try reporter.step(
            epoch: epoch, step: state.completedSteps, phase: phase, loss: loss, learningRate: rate,
            samples: samples.count, tokens: builder.tokenCount(samples), seconds: end.seconds - start.seconds,
            communicationSeconds: end.communicationSeconds - start.communicationSeconds)
        return .updated(isCheckpointDue: totals[3] > 0)
    }
}

/// A checkpoint within an epoch: whether it is time for one after so many updates, and how to save it.
struct StepCheckpoint {
    let isDue: (_ step: Int) -> Bool
    let save: () throws -> Void

    /// For a run that is quick to start again.
    static var never: StepCheckpoint { StepCheckpoint(isDue: { _ in false }, save: {}) }
}
