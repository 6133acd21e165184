import Configuration
import Support
import TensorCore

/// What a run carries from step to step and from phase to phase.
final class TrainingState {
    let optimizer: any Optimizer
    /// Completed updates.
    private(set) var completedSteps: Int
    private let schedule: LearningRateSchedule
    private let maximumGradientNorm: Double?
    /// The losses of the epoch that is open.
    private(set) var epochLoss = EpochLoss()

    /// - Parameters: `parameterCount` is that of the bucket that will be stepped; `completedSteps` are behind the run.
    init(
        _ experiment: Experiment, _ course: RunCourse, parameterCount: Int, ledger: Ledger,
        completedSteps: Int = 0
    ) {
        let training = experiment.training
        schedule = experiment.learningRateSchedule(stepCount: training.epochs * course.stepsPerEpoch)
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

    // MARK: The loss of an epoch

    /// Adds the mean loss of some samples. On every rank alike: any of them may have to save it.
    func add(loss: Double, samples: Int, epoch: Int) {
        if epoch != epochLoss.epoch { epochLoss = EpochLoss(epoch: epoch) }
        epochLoss.sum += loss * Double(samples)
        epochLoss.samples += samples
    }

    /// Takes up an epoch in its midst.
    func takeUp(_ loss: EpochLoss) { epochLoss = loss }
}

/// The losses of an epoch so far.
struct EpochLoss {
    /// The epoch that they are of; 0 before any.
    var epoch = 0
    /// Each mini-batch's mean times its samples.
    var sum = 0.0
    var samples = 0

    var mean: Double { sum / Double(max(1, samples)) }
}
