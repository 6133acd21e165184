import Models
import Plans
import Support
import TensorCore
import TextData

/// An experiment as a user writes it, with every default filled in: one JSON file is one run.
public struct Experiment: Sendable {
    public struct Model: Sendable {
        public enum Initialization: String, Sendable, CaseIterable { case checkpoint, random }
        /// A Hugging Face directory.
        public var path: String
        public var initialization = Initialization.checkpoint
        /// Of the random weights.
        public var seed = 0
    }

    public struct Training: Sendable {
        public enum OptimizerKind: String, Sendable, CaseIterable { case adamw, sgd }
        public var epochs = 3
        public var miniBatchSize = 16
        /// nil lets the planner choose.
        public var microBatchCount: Int?
        public var learningRate = 3e-4
        public var weightDecay = 0.0
        public var optimizer = OptimizerKind.adamw
        public var warmupSteps = 0
        /// A share of all steps; wins over `warmupSteps`.
        public var warmupRatio: Double?
        public var learningRateDecay = LearningRateSchedule.Decay.linear
        /// nil does not clip.
        public var maximumGradientNorm: Double? = 1.0
        /// nil takes the model's own.
        public var dropout: Double?
        public var isShuffled = true
        public var seed = 42
        /// Ends the run, and is the length of the decay.
        public var maximumSteps: Int?
    }

    public struct Parallelism: Sendable {
        public enum System: String, Sendable, CaseIterable {
            case pac
            case ecoFL = "eco_fl"
            case eddl, standalone, plan
        }
        public var system = System.pac
        /// For `plan`: what `plan.json` holds, with its place for errors.
        public var plan: JSONReader?
        public var planner = PlannerKind.exact
        /// What the first pass over the samples does, `schedule` in the file.
        public enum FirstPass: String, Sendable, CaseIterable {
            /// It trains: forward and backward of the first epoch in turn, one mini-batch after the other.
            case training = "1f1b"
            /// The frozen backbone over all samples first, without a gap; then every epoch from the cache.
            case streaming
        }
        public var firstPass = FirstPass.training
        /// A `profile.json` to plan from; nil measures.
        public var profile: String?
        /// Seconds that a rank waits for others before that is an error.
        public var waitLimit = 300.0
    }

    public struct Device: Sendable {
        /// nil for no limit.
        public var memoryBudget: ByteBudget?
        public var threads = ThreadCount.fixed(1)
    }

    public struct Cache: Sendable {
        public var isEnabled: Bool
        /// nil puts the cache into the run directory.
        public var directory: String?
        public var precision = CachePrecision.float32
        /// Bytes of disk that the files of a rank may take; nil for what is free.
        public var budget: ByteBudget?
        public var keep = false
        /// Whether activations move to the ranks that train on them while the first epoch still computes.
        public var movesEarly = true
    }

    public struct Output: Sendable {
        public var directory: String
        /// Updates between two checkpoints within an epoch; nil for no such limit.
        public var checkpointSteps: Int?
        /// Seconds between two checkpoints within an epoch; nil for no such limit.
        public var checkpointSeconds: Double? = 300
    }

    public var name: String
    public var model: Model
    public var task: TaskSpecification
    /// nil takes what the checkpoint says.
    public var pooling: Pooling?
    public var technique: any TuningTechnique
    public var training: Training
    public var parallelism: Parallelism
    public var device: Device
    public var cache: Cache
    public var output: Output

    /// Whether a run on so many samples keeps their activations: the technique and the experiment allow it, and there is an
    /// epoch that a cache would serve, or a wish to keep one.
    ///
    /// - Parameter sampleCount: nil where it is not known.
    public func fillsCache(sampleCount: Int?) -> Bool {
        let size = training.miniBatchSize
        let stepsPerEpoch = sampleCount.map { ($0 + size - 1) / size } ?? 1
        return cache.isEnabled && technique.isCacheable
            && (cache.keep || parallelism.firstPass == .streaming
                || training.epochs > 1 && training.maximumSteps ?? .max > stepsPerEpoch)
    }

    /// In which order the stages run the micro-batches of a mini-batch, wherever this experiment is planned, priced, simulated
    /// or run.
    public var pipelineSchedule: PipelineSchedule { .oneForwardOneBackward }

    /// The learning rates of a run of `stepCount` updates.
    public func learningRateSchedule(stepCount: Int) -> LearningRateSchedule {
        let total = training.maximumSteps ?? stepCount
        let warmup =
            training.warmupRatio.map { Int(($0 * Double(total)).rounded(.up)) } ?? training.warmupSteps
        return LearningRateSchedule(
            peak: training.learningRate, decay: training.learningRateDecay, warmupSteps: warmup,
            totalSteps: total)
    }
}
