import Models
import Support
import TensorCore

/// What a run carries from step to step and from phase to phase.
final class TrainingState {
    let optimizer: any Optimizer
    /// Completed updates.
    private(set) var completedSteps: Int
    private let schedule: LearningRateSchedule
    private let maximumGradientNorm: Double?
    /// Updates after which the run ends.
    let plannedSteps: Int

    /// - Parameter parameterCount: of the bucket that will be stepped.
    init(
        _ experiment: Experiment, parameterCount: Int, stepsPerEpoch: Int, ledger: Ledger,
        completedSteps: Int = 0
    ) {
        let training = experiment.training
        plannedSteps = Self.plannedSteps(experiment, stepsPerEpoch: stepsPerEpoch)
        schedule = experiment.learningRateSchedule(stepCount: training.epochs * stepsPerEpoch)
        maximumGradientNorm = training.maximumGradientNorm
        self.completedSteps = completedSteps
        switch training.optimizer {
        case .adamw:
            optimizer = AdamW(
                parameterCount: parameterCount, weightDecay: Float(training.weightDecay), ledger: ledger)
        case .sgd:
            optimizer = SGD(weightDecay: Float(training.weightDecay))
        }
        optimizer.restore(stepCount: completedSteps)
    }

    /// Updates of a whole run.
    static func plannedSteps(_ experiment: Experiment, stepsPerEpoch: Int) -> Int {
        let all = experiment.training.epochs * stepsPerEpoch
        return min(all, experiment.training.maximumSteps ?? all)
    }

    var isFinished: Bool { completedSteps >= plannedSteps }

    /// The rate of the next update.
    var learningRate: Double { schedule.rate(afterCompleted: completedSteps) }

    /// Clips and updates.
    ///
    /// - Parameter squaredNorm: of all gradients of all ranks.
    func step(_ bucket: ParameterBucket, squaredNorm: Double) {
        optimizer.step(
            bucket, learningRate: Float(learningRate),
            gradientScale: clippingScale(squaredNorm: squaredNorm, maximumNorm: maximumGradientNorm))
        completedSteps += 1
    }

    /// Counts an update that this rank has no parameters for.
    func skip() { completedSteps += 1 }
}
