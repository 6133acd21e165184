import MPI
import Models
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
    public let experiment: Experiment
    public let model: ModelFiles
    /// The task with its tokenizer; on rank 0 only.
    public let task: Task?
    public let headKind: HeadKind
    public let pooling: Pooling
    public let tokenizerFingerprint: String
    public let train: TokenizedDataset?
    public let validation: TokenizedDataset?

    /// Which data a command needs.
    public enum Data { case trainAndValidation, validation, none }

    /// Reads the experiment on rank 0 and prepares everything on all ranks.
    ///
    /// - Parameters: `overrides` are `key.path=value`; `adjust` changes the experiment before anything is read, on rank 0
    ///   (an adapter brings its labels and sizes along).
    public init(
        world: consuming Communicator, experimentPath: String, overrides: [String], data: Data,
        adjust: (inout Experiment) throws -> Void = { _ in }
    ) throws {
        self.world = world
        let resolved = try self.world.fromRoot {
            var experiment = try Experiment(contentsOf: experimentPath, overrides: overrides)
            try adjust(&experiment)
            return Array(experiment.json.text().utf8)
        }
        let experiment = try Experiment(
            JSONReader(JSONValue(parsing: resolved, file: experimentPath), file: experimentPath, line: 0))
        self.experiment = experiment
        setBLASThreadCount(experiment.device.threads)
        let model = try self.world.agree {
            let model = try ModelFiles(experiment.model, ledger: Ledger())
            // A factor that does not divide the sizes: told before anything is made, and by every rank alike.
            let _: any ModelFamily = try model.family.reduced(by: experiment.technique.reductionFactor)
            return model
        }
        self.model = model
        try Self.compareFingerprints(model.fingerprint, self.world)
        pooling = try self.world.agree { try experiment.pooling ?? model.declaredPooling() }

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
        (train, validation) = (received.train, received.validation)
        try checkCounts()
    }

    /// The configuration of every stage's model.
    public var modelConfiguration: StageModel.Configuration {
        StageModel.Configuration(adapters: experiment.technique, head: headKind, pooling: pooling)
    }

    /// Packs the samples of a data set for this model.
    func builder(_ dataset: TokenizedDataset) -> BatchBuilder {
        BatchBuilder(dataset, decoderStartID: model.family.generationTokens?.start)
    }

    private static func compareFingerprints(_ own: String, _ world: borrowing Communicator) throws {
        let all = try world.allGather(Array(own.utf8)).map { String(decoding: $0, as: UTF8.self) }
        guard let other = all.firstIndex(where: { $0 != all[0] }) else { return }
        throw Failure.configuration(
            "model.path: expected the same model on every rank, found \(all[0]) on rank 0 and \(all[other]) on "
                + "rank \(other)"
        ).shared
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
