import Configuration
import Models
import Plans
import Support
import TensorCore
import WeightFiles

/// Where a run stands after an update, beside the numbers: all that a resumed run needs to give the same numbers.
///
/// There is no state of a random generator: order, masks and drawn values are functions of the experiment's seed, the
/// epoch and the sample (`CounterRandom`), so the seed and the number of updates are the random state and the data cursor.
struct TrainingCheckpoint {
    /// When the run began, in seconds since 1970: of two runs of one name the later one counts.
    var started: Double
    /// Completed updates.
    var step: Int
    /// Whether the epoch of the last update has been evaluated and saved.
    var epochIsClosed: Bool
    /// The sum of the open epoch's losses and the samples they are of.
    var epochLoss: (sum: Double, samples: Int)
    /// The resolved experiment.
    var experiment: JSONValue
    var plan: JSONValue
    /// The rank that owns each slot of a mini-batch in cached epochs.
    var owners: [Int]
    /// The host of each rank.
    var hosts: [String]
    var modelHash: String
    var tokenizerHash: String
    var dataHash: String
    var trainableCount: Int
    /// Buffers of the optimizer, each as long as the parameters.
    var optimizerStateCount: Int

    // MARK: The file

    /// The names of the tensors of one buffer (0: the values; then the optimizer's states).
    static func name(_ parameter: String, buffer: Int) -> String {
        buffer == 0 ? "values/" + parameter : "optimizer.\(buffer - 1)/" + parameter
    }

    /// A checkpoint file that is being written; it is renamed once it is complete.
    func makeWriter(_ path: String, _ declarations: [ParameterBucket.Declaration]) throws -> SafetensorsWriter
    {
        let tensors = (0...optimizerStateCount).flatMap { buffer in
            declarations.map { (name: Self.name($0.name, buffer: buffer), shape: $0.shape) }
        }
        return try SafetensorsWriter(tensors, metadata: [("checkpoint", json.text())], to: path)
    }

    /// Opens a file.
    ///
    /// - Throws: when it is damaged, or no checkpoint of this program.
    static func open(_ path: String) throws -> (checkpoint: TrainingCheckpoint, file: SafetensorsFile) {
        let file = try SafetensorsFile(path)
        guard let text = file.metadata["checkpoint"] else {
            throw Failure.configuration("\(path): expected a checkpoint, found another safetensors file")
        }
        return (try TrainingCheckpoint(text, file: path), file)
    }

    init(_ text: String, file: String) throws {
        let object = try JSONReader(parsing: Array(text.utf8), file: file).object()
        _ = try object.required("format_version").integer(in: 1...1)
        started = try object.required("started").number()
        step = try object.required("step").integer(in: 0...Int.max)
        epochIsClosed = try object.required("epoch_is_closed").bool()
        epochLoss = (
            try object.required("epoch_loss_sum").number(), try object.required("epoch_samples").integer()
        )
        experiment = try object.required("experiment").value
        plan = try object.required("plan").value
        owners = try object.required("owners").array().map { try $0.integer(in: 0...Int.max) }
        hosts = try object.required("hosts").array().map { try $0.string() }
        modelHash = try object.required("model_hash").string()
        tokenizerHash = try object.required("tokenizer_hash").string()
        dataHash = try object.required("data_hash").string()
        trainableCount = try object.required("trainable_parameters").integer(in: 0...Int.max)
        optimizerStateCount = try object.required("optimizer_states").integer(in: 0...8)
    }

    var json: JSONValue {
        .dictionary([
            ("format_version", 1), ("started", JSONValue(started)), ("step", JSONValue(step)),
            ("epoch_is_closed", .bool(epochIsClosed)),
            // A run that diverged has no loss that JSON could hold.
            ("epoch_loss_sum", JSONValue(epochLoss.sum.isFinite ? epochLoss.sum : 0)),
            ("epoch_samples", JSONValue(epochLoss.sum.isFinite ? epochLoss.samples : 0)),
            ("experiment", experiment), ("plan", plan),
            ("owners", .array(owners.map { JSONValue($0) })), ("hosts", .array(hosts.map(JSONValue.string))),
            ("model_hash", .string(modelHash)), ("tokenizer_hash", .string(tokenizerHash)),
            ("data_hash", .string(dataHash)), ("trainable_parameters", JSONValue(trainableCount)),
            ("optimizer_states", JSONValue(optimizerStateCount)),
        ])
    }

    init(
        started: Double, _ state: TrainingState, epochIsClosed: Bool, _ subject: Subject, plan: Plan,
        owners: [Int], hosts: [String], trainableCount: Int
    ) {
        self.started = started
        step = state.completedSteps
        self.epochIsClosed = epochIsClosed
        epochLoss = epochIsClosed ? (0, 0) : (state.epochLoss.sum, state.epochLoss.samples)
        experiment = subject.experiment
        self.plan = plan.json
        self.owners = owners
        self.hosts = hosts
        modelHash = subject.modelHash
        tokenizerHash = subject.tokenizerHash
        dataHash = subject.dataHash
        self.trainableCount = trainableCount
        optimizerStateCount = state.optimizer.state.count
    }

    /// What a checkpoint belongs to: another experiment, model, tokenizer or data set cannot go on from it.
    struct Subject {
        /// The resolved experiment.
        let experiment: JSONValue
        let modelHash: String
        let tokenizerHash: String
        let dataHash: String

        init(_ experiment: Experiment, _ model: TunedModel, _ data: RunData) {
            self.experiment = experiment.json
            modelHash = model.files.fingerprint
            tokenizerHash = data.tokenizerFingerprint
            dataHash = data.fingerprint
        }
    }
}

extension TrainingCheckpoint {
    /// Whether this one was saved later, or belongs to a later run of the same name.
    func isNewer(than other: TrainingCheckpoint) -> Bool {
        (started, step, epochIsClosed ? 1 : 0) > (other.started, other.step, other.epochIsClosed ? 1 : 0)
    }

    /// Checks that a run can resume from here: with the same model, data and settings, on any machines.
    ///
    /// - Throws: a configuration failure that names what differs.
    func check(_ subject: Subject, path: String) throws {
        let now = subject.experiment
        for section in ["model", "task", "technique", "training"] {
            try Self.compare(experiment[section] ?? .null, now[section] ?? .null, "\(section)", path)
        }
        // A copy of a model or data set at another path is the same one: the hashes decide.
        let hashes = [
            ("model.path", modelHash, subject.modelHash),
            ("the tokenizer", tokenizerHash, subject.tokenizerHash),
            ("task.train and task.validation", dataHash, subject.dataHash),
        ]
        for (name, expected, found) in hashes where expected != found {
            throw Failure.configuration(
                "\(path): \(name): expected the hash \(expected), as when the run began, found \(found)")
        }
        let precision = experiment["cache"]?["precision"]?.string ?? ""
        let own = now["cache"]?["precision"]?.string ?? ""
        guard precision == own else {
            throw Failure.configuration(
                "\(path): cache.precision: expected \"\(precision)\", as when the run began, found "
                    + "\"\(own)\"")
        }
    }

    private static let paths: Set<String> = [
        "model.path", "task.train", "task.validation", "task.chat_template",
    ]

    private static func compare(_ then: JSONValue, _ now: JSONValue, _ key: String, _ path: String) throws {
        if let members = then.members {
            for member in members {
                try compare(member.value, now[member.key] ?? .null, key + "." + member.key, path)
            }
            return
        }
        guard then != now, !paths.contains(key) else { return }
        throw Failure.configuration(
            "\(path): \(key): expected \(then.text()), as when the run began, found \(now.text()): --resume goes on with "
                + "the same settings")
    }
}
