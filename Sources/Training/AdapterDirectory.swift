import Models
import Support
import TensorCore
import TextData

/// A saved adapter: the trained tensors, what they belong to, and a page that says so.
public struct AdapterDirectory {
    public let path: String
    private let configuration: JSONObjectReader

    private static let tensorFile = "adapter_model.safetensors"
    private static let configurationFile = "adapter_config.json"

    /// Opens an adapter for reading. Throws when its configuration is missing or damaged.
    public init(_ path: String) throws {
        self.path = path
        let file = path + "/" + Self.configurationFile
        configuration = try JSONReader(JSONValue(contentsOf: file), file: file).object()
    }

    /// The most tokens of a text that the adapter was trained to write, with some room.
    public func maximumGenerationLength() throws -> Int {
        try configuration.required("maximum_generation_length").integer(in: 1...1 << 20)
    }

    /// Takes over what an adapter decides of an experiment: technique, labels and pooling; checks what must agree.
    ///
    /// - Throws: when the adapter belongs to another technique, task kind or family.
    public func apply(to experiment: inout Experiment) throws {
        _ = try configuration.required("peft_type").choice(["PARALLEL_ADAPTERS"])
        let factor = try configuration.required("reduction_factor").integer(in: 1...1 << 20)
        let merge = try configuration.required("merge").choice(
            ParallelAdaptersConfiguration.Merge.allCases.map(\.rawValue))
        experiment.technique = ParallelAdaptersConfiguration(
            reductionFactor: factor, merge: ParallelAdaptersConfiguration.Merge(rawValue: merge)!)
        let kind = try configuration.required("task_kind")
        guard try kind.string() == experiment.task.kind.rawValue else {
            throw kind.failure(expected: "\"\(experiment.task.kind.rawValue)\", the experiment's task.kind")
        }
        let name = configuration.optional("task_name")
        guard try name?.string() == experiment.task.name?.rawValue else {
            throw (try configuration.required("task_name")).failure(
                expected: "\"\(experiment.task.name?.rawValue ?? "null")\", the experiment's task.name")
        }
        if let style = configuration.optional("label_style") {
            experiment.task.labelStyle = LabelStyle(
                rawValue: try style.choice(LabelStyle.allCases.map(\.rawValue)))!
        }
        experiment.task.maximumSequenceLength =
            try configuration.required("max_sequence_length").integer(in: 1...1 << 20)
        if experiment.task.kind == .classification {
            experiment.task.labels = try configuration.required("labels").array().map { try $0.string() }
        }
        if let pooling = configuration.optional("pooling") {
            experiment.pooling = Pooling(rawValue: try pooling.choice(Pooling.allCases.map(\.rawValue)))!
        }
    }

    /// Sets a model's trainable values.
    ///
    /// - Throws: when the adapter was trained on another model, or a tensor is missing or has another shape.
    public func load(into model: StageModel, modelFingerprint: String) throws {
        let hash = try configuration.required("model_hash")
        guard try hash.string() == modelFingerprint else {
            throw hash.failure(expected: "\"\(modelFingerprint)\", the hash of the experiment's model")
        }
        let file = try SafetensorsFile(path + "/" + Self.tensorFile)
        for declaration in model.parameters.declarations {
            guard let entry = file.entries[declaration.name] else {
                throw Failure.configuration("\(file.path): the tensor \"\(declaration.name)\" is missing")
            }
            guard entry.shape == declaration.shape else {
                throw Failure.configuration(
                    "\(file.path): tensor \"\(declaration.name)\": expected shape \(declaration.shape), found "
                        + "\(entry.shape)")
            }
            model.parameters.set(declaration.name, try file.floats(declaration.name))
        }
    }

    /// Saves the complete model's trained tensors; each file is replaced as a whole.
    static func save(
        _ model: StageModel, to path: String, session: Session, task: Task, maximumGenerationLength: Int
    ) throws {
        try makeDirectory(path)
        try writeSafetensors(
            model.parameters.named, metadata: [("format", "pt")], to: path + "/" + tensorFile)
        let experiment = session.experiment
        let labels: JSONValue =
            if case .classification(let labels) = task.problem { .array(labels.map(JSONValue.string)) } else {
                task.specification.labels.map { .array($0.map(JSONValue.string)) } ?? .null
            }
        let configuration = JSONValue.dictionary([
            ("peft_type", "PARALLEL_ADAPTERS"), ("format_version", 1),
            ("base_model_name_or_path", .string(experiment.model.path)),
            ("model_hash", .string(session.model.fingerprint)), ("family", .string(model.family.name)),
            ("reduction_factor", JSONValue(experiment.technique.reductionFactor)), ("adapter", "transformer"),
            ("merge", .string(experiment.technique.merge.rawValue)), ("gate_temperature", 0.1),
            ("task_kind", .string(experiment.task.kind.rawValue)),
            ("task_name", experiment.task.name.map { .string($0.rawValue) } ?? .null), ("labels", labels),
            ("pooling", .string(session.pooling.rawValue)),
            ("label_style", .string(experiment.task.labelStyle.rawValue)),
            ("max_sequence_length", JSONValue(experiment.task.maximumSequenceLength)),
            ("maximum_generation_length", JSONValue(maximumGenerationLength)),
            ("trainable_parameters", JSONValue(model.parameters.count)),
        ])
        try writeFileAtomically(configuration.text(indented: true) + "\n", to: path + "/" + configurationFile)
        try writeFileAtomically(page(model, session), to: path + "/README.md")
    }

    private static func page(_ model: StageModel, _ session: Session) -> String {
        """
        # Parallel Adapters for \(session.experiment.name)

        Trained by pac-mpi beside the frozen \(model.family.name) model at `\(session.experiment.model.path)`
        (hash `\(session.model.fingerprint)`): \(model.parameters.count) parameters, reduction factor
        \(session.experiment.technique.reductionFactor).

        - `adapter_model.safetensors`: the side network (`side.*`, named after the backbone tensors it was pruned from) and
          the task's head.
        - `adapter_config.json`: what they belong to, with the labels in order.

        A side network runs beside its backbone. **It cannot be merged into the model's weights**, and it needs the same
        model to run:

            pac-mpi evaluate EXPERIMENT.json --adapter THIS_DIRECTORY
            pac-mpi predict EXPERIMENT.json --adapter THIS_DIRECTORY --text "..."

        """
    }
}
