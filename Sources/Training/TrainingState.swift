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
        let all = training.epochs * stepsPerEpoch
        plannedSteps = min(all, training.maximumSteps ?? all)
        schedule = experiment.schedule(stepCount: all)
        maximumGradientNorm = training.maximumGradientNorm
        self.completedSteps = completedSteps
        switch training.optimizer {
        case .adamw:
            optimizer = AdamW(
                parameterCount: parameterCount, weightDecay: Float(training.weightDecay), ledger: ledger)
        case .sgd:
            optimizer = SGD(weightDecay: Float(training.weightDecay))
        }
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

extension Session {
    /// Dropout keys of some samples in an epoch; nil without dropout.
    func dropout(epoch: Int) -> (([Int]) -> DropoutKeys)? {
        let probability = experiment.training.dropout ?? model.family.dropout
        guard probability > 0 else { return nil }
        let seed = UInt64(experiment.training.seed)
        return { DropoutKeys(probability: probability, seed: seed, epoch: epoch, sampleIDs: $0) }
    }

    /// The order of a data set's samples: shuffled for training, in file order for evaluation.
    func order(sampleCount: Int, isShuffled: Bool) -> SampleOrder {
        SampleOrder(
            sampleCount: sampleCount, miniBatchSize: experiment.training.miniBatchSize,
            isShuffled: isShuffled,
            seed: UInt64(experiment.training.seed))
    }
}
