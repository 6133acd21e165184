import Models
import Plans
import Support
import TensorCore
import TextData

/// An experiment as a user writes it, with every default filled in: one JSON file is one run.
package struct Experiment: Sendable {
    package struct Model: Sendable {
        package enum Initialization: String, Sendable, CaseIterable { case checkpoint, random }
        /// A Hugging Face directory.
        package var path: String
        package var initialization = Initialization.checkpoint
        /// Of the random weights.
        package var seed = 0
    }

    package struct Training: Sendable {
        package enum OptimizerKind: String, Sendable, CaseIterable { case adamw, sgd }
        package var epochs = 3
        package var miniBatchSize = 16
        /// nil lets the planner choose.
        package var microBatchCount: Int?
        package var learningRate = 3e-4
        package var weightDecay = 0.0
        package var optimizer = OptimizerKind.adamw
        package var warmupSteps = 0
        /// A share of all steps; wins over `warmupSteps`.
        package var warmupRatio: Double?
        package var learningRateDecay = LearningRateSchedule.Decay.linear
        /// nil does not clip.
        package var maximumGradientNorm: Double? = 1.0
        /// nil takes the model's own.
        package var dropout: Double?
        package var isShuffled = true
        package var seed = 42
        /// Ends the run, and is the length of the decay.
        package var maximumSteps: Int?
    }

    package struct Parallelism: Sendable {
        package enum System: String, Sendable, CaseIterable {
            case pac
            case ecoFL = "eco_fl"
            case eddl, standalone, plan
        }
        package var system = System.pac
        /// For `plan`: what `plan.json` holds, with its place for errors.
        package var plan: JSONReader?
        package var planner = PlannerKind.exact
        /// What the first pass over the samples does, `schedule` in the file.
        package enum FirstPass: String, Sendable, CaseIterable {
            /// It trains: forward and backward of the first epoch in turn, one mini-batch after the other.
            case training = "1f1b"
            /// The frozen backbone over all samples first, without a gap; then every epoch from the cache.
            case streaming
        }
        package var firstPass = FirstPass.training
        /// A `profile.json` to plan from; nil measures.
        package var profile: String?
        /// Seconds that a rank waits for others before that is an error.
        package var waitLimit = 300.0
    }

    package struct Device: Sendable {
        /// nil for no limit.
        package var memoryBudget: ByteBudget?
        package var threads = ThreadCount.fixed(1)
    }

    package struct Cache: Sendable {
        package var isEnabled: Bool
        /// nil puts the cache into the run directory.
        package var directory: String?
        package var precision = CachePrecision.float32
        /// Bytes of disk that the files of a rank may take; nil for what is free.
        package var budget: ByteBudget?
        package var keep = false
        /// Whether activations move to the ranks that train on them while the first epoch still computes.
        package var movesEarly = true
    }

    package struct Output: Sendable {
        package var directory: String
        /// Updates between two checkpoints within an epoch; nil for no such limit.
        package var checkpointSteps: Int?
        /// Seconds between two checkpoints within an epoch; nil for no such limit.
        package var checkpointSeconds: Double? = 300
    }

    package var name: String
    package var model: Model
    package var task: TaskSpecification
    /// nil takes what the checkpoint says.
    package var pooling: Pooling?
    package var technique: any TuningTechnique
    package var training: Training
    package var parallelism: Parallelism
    package var device: Device
    package var cache: Cache
    package var output: Output

    /// Whether a run on so many samples keeps their activations: the technique and the experiment allow it, and there is an
    /// epoch that a cache would serve, or a wish to keep one.
    ///
    /// - Parameter sampleCount: nil where it is not known.
    package func fillsCache(sampleCount: Int?) -> Bool {
        let size = training.miniBatchSize
        let stepsPerEpoch = sampleCount.map { ($0 + size - 1) / size } ?? 1
        return cache.isEnabled && technique.isCacheable
            && (cache.keep || parallelism.firstPass == .streaming
                || training.epochs > 1 && training.maximumSteps ?? .max > stepsPerEpoch)
    }

    /// In which order the stages run the micro-batches of a mini-batch, wherever this experiment is planned, priced, simulated
    /// or run.
    package var pipelineSchedule: PipelineSchedule { .oneForwardOneBackward }

    /// The learning rates of a run of `stepCount` updates.
    package func learningRateSchedule(stepCount: Int) -> LearningRateSchedule {
        let total = training.maximumSteps ?? stepCount
        let warmup =
            training.warmupRatio.map { Int(($0 * Double(total)).rounded(.up)) } ?? training.warmupSteps
        return LearningRateSchedule(
            peak: training.learningRate, decay: training.learningRateDecay, warmupSteps: warmup,
            totalSteps: total)
    }
}
