import Configuration
import Models
import Support
import TensorCore
import TextData
import WeightFiles

/// Saves what was trained: the tensors, piece by piece, then `adapter_config.json` and a page that says what they are. Each
/// file is replaced as a whole. For rank 0 alone.
final class AdapterWriter {
    private let path: String
    private let experiment: Experiment
    private let model: TunedModel
    private let task: TextTask
    private let maximumGenerationLength: Int
    private let parameterCount: Int
    private let tensors: SafetensorsWriter

    /// Begins the tensor file.
    ///
    /// - Parameters: `declarations` are the trained tensors in the order in which they will come;
    ///   `maximumGenerationLength` the most tokens that a text was trained to have, with some room.
    init(
        _ path: String, _ declarations: [ParameterBucket.Declaration], _ experiment: Experiment,
        _ model: TunedModel,
        task: TextTask, maximumGenerationLength: Int
    ) throws {
        self.path = path
        self.experiment = experiment
        self.model = model
        self.task = task
        self.maximumGenerationLength = maximumGenerationLength
        parameterCount = declarations.reduce(0) { $0 + $1.count }
        try makeDirectory(path)
        let technique = experiment.technique
        tensors = try SafetensorsWriter(
            declarations.map { (technique.storedName(of: $0.name), $0.shape) }, metadata: [("format", "pt")],
            to: path + "/" + AdapterDirectory.tensorFile)
    }

    /// Appends values, in any pieces.
    func append(_ values: UnsafeBufferPointer<Float>) throws { try tensors.append(values) }

    /// Puts the tensors in their place and writes what they belong to.
    func finish() throws {
        try tensors.finish()
        try writeFileAtomically(
            configuration.text(indented: true) + "\n", to: path + "/" + AdapterDirectory.configurationFile)
        try writeFileAtomically(
            AdapterPage(experiment, model, parameterCount: parameterCount).text,
            to: path + "/" + AdapterDirectory.pageFile)
        if experiment.technique.isWholeModel,
            fileExists(experiment.model.path + "/config.json")
        {
            try ModelExport(from: experiment.model.path, model.family, task).write(
                to: path, tensorFile: AdapterDirectory.tensorFile)
        }
    }

    private var configuration: JSONValue {
        let labels: JSONValue =
            if case .classification(let labels) = task.problem { .array(labels.map(JSONValue.string)) } else {
                task.specification.labels.map { .array($0.map(JSONValue.string)) } ?? .null
            }
        return .dictionary(
            experiment.technique.peftKeys(model.family, model.configuration.head) + [
                ("format_version", 2), ("technique", experiment.technique.json),
                ("base_model_name_or_path", .string(experiment.model.path)),
                ("model_hash", .string(model.files.fingerprint)),
                ("family", .string(model.family.name)),
                ("task_kind", .string(experiment.task.kind.rawValue)),
                ("task_name", experiment.task.name.map { .string($0.rawValue) } ?? .null),
                ("labels", labels), ("pooling", .string(model.configuration.pooling.rawValue)),
                ("label_style", .string(experiment.task.labelStyle.rawValue)),
                ("max_sequence_length", JSONValue(experiment.task.maximumSequenceLength)),
                ("maximum_generation_length", JSONValue(maximumGenerationLength)),
                ("trainable_parameters", JSONValue(parameterCount)),
            ])
    }
}
