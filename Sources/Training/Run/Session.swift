import ActivationCache
import Cluster
import Configuration
import MPI
import Models
import Plans
import Reporting
import Stages
import Support
import TensorCore
import TextData

/// What every command that touches a model starts from: the world, the experiment, the model's files and the data,
/// checked on every rank before the first training step.
///
/// Making one is collective: whatever is wrong on any rank ends all of them with the same message.
package final class Session {
    package let context: RankContext
    package let experiment: Experiment
    let model: TunedModel
    let data: RunData
    /// Bytes that this rank may use; nil for no limit.
    let memoryBudget: Int?
    /// When the session began, on the monotonic clock.
    let start = MonotonicClock.seconds

    /// Where the frozen tensors of a session come from.
    package enum Weights: Sendable {
        case model
        /// The cache that a run has kept: the model's weights are not opened.
        case cache(CacheDirectory)
    }

    /// Which data a command needs.
    package enum Data { case trainAndValidation, validation, none }

    /// Makes sure that the ranks belong together, reads the experiment on rank 0 and prepares everything on all ranks.
    ///
    /// - Parameters: `overrides` are `key.path=value`; `adjust` changes the experiment before anything is read, on rank 0
    ///   (an adapter brings its labels and sizes along).
    package init(
        world: consuming Communicator, experimentPath: String, overrides: [String], data: Data,
        weights: Weights = .model,
        adjust: (inout Experiment) throws -> Void = { _ in }
    ) throws {
        try Handshake.check(world)
        let reader = try world.jsonFromRoot(experimentPath, line: 0) {
            var experiment = try Experiment(contentsOf: experimentPath, overrides: overrides)
            try adjust(&experiment)
            // Read where its file and lines are known; the other ranks receive it as one line.
            if let plan = experiment.parallelism.plan {
                _ = try Plan(plan, miniBatchSize: experiment.training.miniBatchSize)
            }
            return experiment.json
        }
        let experiment = try Experiment(reader)
        self.experiment = experiment
        world.waitLimit = WaitLimit(seconds: experiment.parallelism.waitLimit)
        let trace = TraceRecorder(rank: world.rank)
        let context = RankContext(world: world, ledger: Ledger(), trace: trace)
        self.context = context
        try experiment.device.threads.start(context.world)
        memoryBudget = try Self.enforceBudget(experiment, context)
        var cached: CachedTensors?
        if case .cache(let directory) = weights {
            cached = try CachedTensors.gather(directory, context.world)
        }
        let files = try context.world.agree {
            try cached.map { try ModelFiles(experiment.model, cached: $0) } ?? ModelFiles(experiment.model)
        }
        try Handshake.checkModel(files.fingerprint, context.world)
        // Where hosts differ in what their copies declare, rank 0 decides.
        let declared = try context.world.fromRoot {
            Array(try (experiment.pooling ?? files.declaredPooling()).rawValue.utf8)
        }
        let pooling = Pooling(rawValue: String(decoding: declared, as: UTF8.self))!

        // Rank 0 alone needs the data files: it tokenizes, the others receive.
        var task: TextTask?
        let prepared = try context.world.fromRoot {
            let made = try PreparedData(experiment, files, data)
            task = made.task
            return made.serialized()
        }
        let received = try PreparedData.Received(prepared)
        let model = TunedModel(
            files: files,
            configuration: StageModel.Configuration(
                technique: experiment.technique, head: received.headKind, pooling: pooling))
        self.model = model
        try context.world.agree { try files.check(model.configuration) }
        try Self.checkCount(received.train, of: experiment, context)
        // What a model cannot read of a sample is found before anything starts.
        self.data = try context.world.agree {
            try RunData(received, task: task, model.family, pooling: pooling)
        }
    }

    /// Lets the ledger keep to the budget of this rank's host, and tell of memory that the system refuses. Collective.
    private static func enforceBudget(
        _ experiment: Experiment, _ context: RankContext
    ) throws -> Int? {
        context.ledger.activity = "start"
        context.ledger.endJobWhenRefused()
        let host = MPIEnvironment.processorName
        let hosts = try context.world.allGather(Array(host.utf8)).map { String(decoding: $0, as: UTF8.self) }
        guard let budget = experiment.device.memoryBudget else { return nil }
        try context.world.agree { try budget.check(hosts, key: "device.memory_budget_bytes") }
        guard let bytes = budget.bytes(onHost: host) else { return nil }
        context.ledger.endJobBeyond(budget: bytes)
        return bytes
    }

    private static func checkCount(
        _ train: TokenizedDataset?, of experiment: Experiment, _ context: RankContext
    ) throws {
        guard let train, train.count < context.world.size else { return }
        throw Failure.configuration(
            "\(experiment.task.train): expected at least one training sample for each of \(context.world.size) ranks, "
                + "found \(train.count)"
        ).shared
    }
}
