import MPI
import Models
import Plans
import Reporting
import Support
import TensorCore
import TextData

/// What every command that touches a model starts from: the world, the experiment, the model's files and the data,
/// checked on every rank before the first training step.
///
/// Making one is collective: whatever is wrong on any rank ends all of them with the same message.
public final class Session {
    public let world: Communicator
    public let ledger = Ledger()
    /// What this rank did and when; records only within the steps of a training run.
    let trace: TraceRecorder
    public let experiment: Experiment
    public let model: ModelFiles
    /// The task with its tokenizer; on rank 0 only.
    public let task: Task?
    public let headKind: HeadKind
    public let pooling: Pooling
    /// The configuration of every stage's model.
    public let modelConfiguration: StageModel.Configuration
    /// Bytes that this rank may use; nil for no limit.
    let memoryBudget: Int?
    /// When the session began, on the monotonic clock.
    let start = MonotonicClock.seconds
    public let tokenizerFingerprint: String
    /// Whether a validation compares texts that the model writes; otherwise one pass over the samples measures it.
    let validatesByWriting: Bool
    public let train: TokenizedDataset?
    public let validation: TokenizedDataset?

    /// Where the frozen tensors of a session come from.
    public enum Weights: Sendable {
        case model
        /// The cache that a run has kept: the model's weights are not opened.
        case cache(RunDirectory)
    }

    /// Which data a command needs.
    public enum Data { case trainAndValidation, validation, none }

    /// Makes sure that the ranks belong together, reads the experiment on rank 0 and prepares everything on all ranks.
    ///
    /// - Parameters: `overrides` are `key.path=value`; `adjust` changes the experiment before anything is read, on rank 0
    ///   (an adapter brings its labels and sizes along).
    public init(
        world: consuming Communicator, experimentPath: String, overrides: [String], data: Data,
        weights: Weights = .model,
        adjust: (inout Experiment) throws -> Void = { _ in }
    ) throws {
        trace = TraceRecorder(rank: world.rank)
        try Handshake.check(world)
        let resolved = try world.fromRoot {
            var experiment = try Experiment(contentsOf: experimentPath, overrides: overrides)
            try adjust(&experiment)
            // Read where its file and lines are known; the other ranks receive it as one line.
            if let plan = experiment.parallelism.plan {
                _ = try Plan(plan, miniBatchSize: experiment.training.miniBatchSize)
            }
            return Array(experiment.json.text().utf8)
        }
        let experiment = try Experiment(
            JSONReader(JSONValue(parsing: resolved, file: experimentPath), file: experimentPath, line: 0))
        self.experiment = experiment
        world.waitLimit = WaitLimit(seconds: experiment.parallelism.waitLimit)
        self.world = world
        try experiment.device.threads.start(self.world)
        memoryBudget = try Self.enforceBudget(experiment, ledger, self.world)
        var cached: CachedTensors?
        if case .cache(let directory) = weights {
            cached = try CachedTensors.gather(directory, self.world)
        }
        let model = try self.world.agree {
            try cached.map { try ModelFiles(experiment.model, cached: $0) } ?? ModelFiles(experiment.model)
        }
        self.model = model
        try Handshake.checkModel(model.fingerprint, self.world)
        // Where hosts differ in what their copies declare, rank 0 decides.
        let declared = try self.world.fromRoot {
            Array(try (experiment.pooling ?? model.declaredPooling()).rawValue.utf8)
        }
        let pooling = Pooling(rawValue: String(decoding: declared, as: UTF8.self))!
        self.pooling = pooling

        // Rank 0 alone needs the data files: it tokenizes, the others receive.
        var task: Task?
        let prepared = try self.world.fromRoot {
            let made = try PreparedData(experiment, model, data)
            task = made.task
            return made.serialized()
        }
        self.task = task
        let received = try PreparedData.Received(prepared)
        headKind = received.headKind
        tokenizerFingerprint = received.tokenizerFingerprint
        validatesByWriting = received.validatesByWriting
        (train, validation) = (received.train, received.validation)
        let configuration = StageModel.Configuration(
            technique: experiment.technique, head: received.headKind, pooling: pooling)
        modelConfiguration = configuration
        try self.world.agree { try model.check(configuration) }
        try checkCounts()
        // What a model cannot read of a sample is found before anything starts.
        try self.world.agree {
            for dataset in [received.train, received.validation].compactMap({ $0 }) {
                _ = try builder(dataset)
            }
        }
    }

    /// Packs the samples of a data set for this model.
    ///
    /// - Throws: on every rank alike, when a sample lacks a token that the classifier reads.
    func builder(_ dataset: TokenizedDataset) throws -> BatchBuilder {
        try BatchBuilder(dataset, model.family, head: headKind, pooling: pooling)
    }

    /// Lets the ledger keep to the budget of this rank's host. Collective.
    private static func enforceBudget(
        _ experiment: Experiment, _ ledger: Ledger, _ world: borrowing Communicator
    ) throws -> Int? {
        let host = MPIEnvironment.processorName
        let hosts = try world.allGather(Array(host.utf8)).map { String(decoding: $0, as: UTF8.self) }
        guard let budget = experiment.device.memoryBudget else { return nil }
        try world.agree { try budget.check(hosts, key: "device.memory_budget_bytes") }
        guard let bytes = budget.bytes(onHost: host) else { return nil }
        ledger.activity = "start"
        ledger.enforce(budget: bytes) { LoneFailure.end(.run($0.message)) }
        return bytes
    }

    private func checkCounts() throws {
        guard let train else { return }
        guard train.count >= world.size else {
            throw Failure.configuration(
                "\(experiment.task.train): expected at least one training sample for each of \(world.size) ranks, "
                    + "found \(train.count)"
            ).shared
        }
    }
}

extension Session {
    /// Dropout keys of some samples in an epoch; nil without dropout.
    func dropout(epoch: Int) -> (([Int]) -> DropoutKeys)? {
        let probability = experiment.training.dropout ?? model.family.dropout
        guard probability > 0 || experiment.technique.ownDropout > 0 else { return nil }
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

    /// The time, and how much of it this process has spent on messages so far.
    var moment: (seconds: Double, communication: Double) {
        (MonotonicClock.seconds, world.communicationSeconds)
    }

    /// What became of the time since a moment. Collective over the world.
    func elapsed(since start: (seconds: Double, communication: Double)) throws -> PhaseTime {
        let end = moment
        let seconds = end.seconds - start.seconds
        let share = (end.communication - start.communication) / max(seconds, .leastNormalMagnitude)
        return PhaseTime(
            seconds: seconds, communicationShare: try world.allReduceSum(share) / Double(world.size),
            busiestShare: try world.allReduceMax(1 - share))
    }
}

/// How long a phase took on this rank, and what for.
struct PhaseTime {
    let seconds: Double
    /// The share that went into messages, the mean over all ranks: sending, receiving, summing, and waiting for what others
    /// send.
    let communicationShare: Double
    /// The share that the rank with the most work spent on anything else: near 1 where nobody could have been faster.
    let busiestShare: Double

    var fields: [(String, JSONValue)] {
        [
            ("seconds", JSONValue(seconds)), ("communication_share", JSONValue(communicationShare)),
            ("busiest_share", JSONValue(busiestShare)),
        ]
    }
}
