import Configuration
import Models
import Stages
import TensorCore

/// The order in which a run trains: its epochs, their mini-batches, and the masks that are drawn for them. The same under
/// every plan and on every rank.
struct RunCourse {
    private let training: Experiment.Training
    private let order: SampleOrder
    /// Of the side network, or of what the technique adds; 0 for none.
    private let dropoutProbability: Double
    private let drawsMasks: Bool

    /// - Parameter sampleCount: of the training split.
    init(_ experiment: Experiment, _ family: any ModelFamily, sampleCount: Int) {
        training = experiment.training
        order = experiment.training.order(
            sampleCount: sampleCount, isShuffled: experiment.training.isShuffled)
        dropoutProbability = experiment.training.dropout ?? family.dropout
        drawsMasks = dropoutProbability > 0 || experiment.technique.ownDropout > 0
    }

    var stepsPerEpoch: Int { order.stepCount }

    /// Updates after which the run ends.
    var plannedSteps: Int {
        let all = training.epochs * stepsPerEpoch
        return min(all, training.maximumSteps ?? all)
    }

    /// The epoch of the last update.
    var lastEpoch: Int { (plannedSteps + stepsPerEpoch - 1) / stepsPerEpoch }

    /// The epoch that a run is in when it starts: that of the last update while it is not closed.
    ///
    /// - Parameter checkpoint: where the run goes on; nil for one that begins.
    func firstEpoch(after checkpoint: TrainingCheckpoint?) -> Int {
        guard let checkpoint, checkpoint.step > 0 else { return 1 }
        let epoch = (checkpoint.step - 1) / stepsPerEpoch + 1
        return checkpoint.epochIsClosed ? epoch + 1 : epoch
    }

    /// The mini-batches of an epoch.
    func miniBatches(epoch: Int) -> [[Int]] { order.miniBatches(epoch: epoch) }

    /// The mini-batches of an epoch that are still to be trained: behind those that were, and within the run's steps.
    func remainingMiniBatches(epoch: Int, _ state: TrainingState) -> [[Int]] {
        let first = (epoch - 1) * stepsPerEpoch
        return Array(
            order.miniBatches(epoch: epoch).prefix(plannedSteps - first).dropFirst(
                state.completedSteps - first))
    }

    /// Some samples in their order, as many at a time as a mini-batch has.
    func miniBatches(of samples: [Int]) -> [[Int]] {
        training.miniBatches(sampleCount: samples.count).map { positions in positions.map { samples[$0] } }
    }

    /// Dropout keys of some samples in an epoch; nil without dropout.
    func dropout(epoch: Int) -> (([Int]) -> DropoutKeys)? {
        guard drawsMasks else { return nil }
        let (probability, seed) = (dropoutProbability, UInt64(training.seed))
        return { DropoutKeys(probability: probability, seed: seed, epoch: epoch, sampleIDs: $0) }
    }
}

extension Experiment.Training {
    /// The order of a data set's samples: shuffled for training, in file order for evaluation.
    func order(sampleCount: Int, isShuffled: Bool) -> SampleOrder {
        SampleOrder(
            sampleCount: sampleCount, miniBatchSize: miniBatchSize, isShuffled: isShuffled, seed: UInt64(seed)
        )
    }

    /// The mini-batches of samples in file order, as an evaluation takes them.
    func miniBatches(sampleCount: Int) -> [[Int]] {
        order(sampleCount: sampleCount, isShuffled: false).miniBatches(epoch: 1)
    }
}
