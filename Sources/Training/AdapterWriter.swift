import Models
import Support
import TensorCore
import TextData

/// Saves what was trained: the tensors, piece by piece, then `adapter_config.json` and a page that says what they are. Each
/// file is replaced as a whole. For rank 0 alone.
///
/// Under LoRA the names and keys are those of Hugging Face's PEFT, which can load the directory.
final class AdapterWriter {
    private let path: String
    private let session: Session
    private let task: Task
    private let maximumGenerationLength: Int
    private let parameterCount: Int
    private let tensors: SafetensorsWriter

    /// Begins the tensor file.
    ///
    /// - Parameters: `declarations` are the trained tensors in the order in which they will come;
    ///   `maximumGenerationLength` the most tokens that a text was trained to have, with some room.
    init(
        _ path: String, _ declarations: [ParameterBucket.Declaration], session: Session, task: Task,
        maximumGenerationLength: Int
    ) throws {
        self.path = path
        self.session = session
        self.task = task
        self.maximumGenerationLength = maximumGenerationLength
        parameterCount = declarations.reduce(0) { $0 + $1.count }
        try makeDirectory(path)
        let technique = session.experiment.technique
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
            AdapterPage(session, parameterCount: parameterCount).text,
            to: path + "/" + AdapterDirectory.pageFile)
        if session.experiment.technique is FullTuning,
            fileExists(session.experiment.model.path + "/config.json")
        {
            try ModelExport(from: session.experiment.model.path, session.model.family, task).write(
                to: path, tensorFile: AdapterDirectory.tensorFile)
        }
    }

    private var configuration: JSONValue {
        let experiment = session.experiment
        let labels: JSONValue =
            if case .classification(let labels) = task.problem { .array(labels.map(JSONValue.string)) } else {
                task.specification.labels.map { .array($0.map(JSONValue.string)) } ?? .null
            }
        return .dictionary(
            peftKeys + [
                ("format_version", 2), ("technique", experiment.technique.json),
                ("base_model_name_or_path", .string(experiment.model.path)),
                ("model_hash", .string(session.model.fingerprint)),
                ("family", .string(session.model.family.name)),
                ("task_kind", .string(experiment.task.kind.rawValue)),
                ("task_name", experiment.task.name.map { .string($0.rawValue) } ?? .null),
                ("labels", labels), ("pooling", .string(session.pooling.rawValue)),
                ("label_style", .string(experiment.task.labelStyle.rawValue)),
                ("max_sequence_length", JSONValue(experiment.task.maximumSequenceLength)),
                ("maximum_generation_length", JSONValue(maximumGenerationLength)),
                ("trainable_parameters", JSONValue(parameterCount)),
            ])
    }

    /// What tells PEFT, and other readers, which technique this is.
    private var peftKeys: [(String, JSONValue)] {
        let family = session.model.family
        switch session.experiment.technique {
        case let technique as ParallelAdapters:
            return [
                ("peft_type", "PARALLEL_ADAPTERS"),
                ("reduction_factor", JSONValue(technique.reductionFactor)),
                ("adapter", .string(technique.adapter.rawValue)),
                ("merge", .string(technique.merge.rawValue)), ("gate_temperature", 0.1),
            ]
        case let technique as LowRankAdaptation:
            let isWriter = session.headKind == .languageModel
            let saved = family.head.classifier.output.split(separator: ".")[0]
            return [
                ("peft_type", "LORA"),
                (
                    "task_type",
                    isWriter
                        ? (family.stacks.count > 1 ? "SEQ_2_SEQ_LM" : "CAUSAL_LM") : "SEQ_CLS"
                ),
                ("r", JSONValue(technique.rank)), ("lora_alpha", JSONValue(technique.alpha)),
                ("lora_dropout", JSONValue(technique.dropout)), ("bias", "none"), ("fan_in_fan_out", false),
                ("inference_mode", true),
                ("target_modules", .array(technique.targets(family).map(JSONValue.string))),
                ("modules_to_save", isWriter ? .null : [.string(String(saved))]),
            ]
        case is BottleneckAdapters: return [("peft_type", "BOTTLENECK_ADAPTERS")]
        default: return [("peft_type", "FULL")]
        }
    }
}
