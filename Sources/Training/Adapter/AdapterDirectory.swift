import Configuration
import Models
import Support
import TensorCore
import TextData
import WeightFiles

/// A saved adapter, for reading: the trained tensors and what they belong to.
package struct AdapterDirectory {
    package let path: String
    private let configuration: JSONObjectReader

    static let tensorFile = "adapter_model.safetensors"
    static let configurationFile = "adapter_config.json"
    static let pageFile = "README.md"

    /// What every adapter has; a fully tuned model has more (`ModelExport`).
    static let files = [tensorFile, configurationFile, pageFile]

    /// Opens an adapter for reading. Throws when its configuration is missing or damaged.
    package init(_ path: String) throws {
        self.path = path
        let file = path + "/" + Self.configurationFile
        configuration = try JSONReader(contentsOf: file).object()
    }

    /// The most tokens of a text that the adapter was trained to write, with some room.
    package func maximumGenerationLength() throws -> Int {
        try configuration.required("maximum_generation_length").integer(in: 1...1 << 20)
    }

    /// Takes over what an adapter decides of an experiment: technique, labels and pooling; checks what must agree.
    ///
    /// - Throws: when the adapter was not made by this program, or belongs to another task kind.
    package func apply(to experiment: inout Experiment) throws {
        _ = try configuration.required("format_version").integer(in: 2...2)
        experiment.technique = try TuningTechniques.read(configuration.required("technique"))
        experiment.cache.isEnabled = experiment.cache.isEnabled && experiment.technique.isCacheable
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
    package func load(into model: StageModel, modelFingerprint: String) throws {
        let hash = try configuration.required("model_hash")
        guard try hash.string() == modelFingerprint else {
            throw hash.failure(expected: "\"\(modelFingerprint)\", the hash of the experiment's model")
        }
        let technique = try TuningTechniques.read(configuration.required("technique"))
        let file = try SafetensorsFile(path + "/" + Self.tensorFile)
        for declaration in model.parameters.declarations {
            let name = technique.storedName(of: declaration.name)
            guard let entry = file.entries[name] else {
                throw Failure.configuration("\(file.path): the tensor \"\(name)\" is missing")
            }
            guard entry.shape == declaration.shape else {
                throw Failure.configuration(
                    "\(file.path): tensor \"\(name)\": expected shape \(declaration.shape), found "
                        + "\(entry.shape)")
            }
            model.parameters.set(declaration.name, try file.floats(name))
        }
    }
}
