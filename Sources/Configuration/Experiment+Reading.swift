import Models
import Plans
import Support
import TensorCore
import TextData

extension Experiment {
    /// Reads an experiment file and applies `key.path=value` overrides.
    ///
    /// - Throws: a configuration failure that names file, line and key for anything unknown, missing or wrong.
    package init(contentsOf path: String, overrides: [String] = []) throws {
        var document = try JSONValue(contentsOf: path)
        for override in overrides { try document.apply(override: override) }
        try self.init(JSONReader(document, file: path))
    }

    /// Decodes an experiment.
    package init(_ reader: JSONReader) throws {
        let root = try reader.object(keys: [
            "name", "model", "task", "technique", "training", "parallelism", "device", "cache", "output",
        ])
        model = try Model(root.required("model"))
        (task, pooling) = try Self.readTask(root.required("task"))
        technique = try TuningTechniques.read(root.optional("technique"))
        training = try root.optional("training").map(Training.init) ?? Training()
        parallelism = try root.optional("parallelism").map(Parallelism.init) ?? Parallelism()
        device = try root.optional("device").map(Device.init) ?? Device()
        cache = try root.optional("cache").map { [technique] in try Cache($0, technique) } ?? Cache(technique)
        if parallelism.firstPass == .streaming, !cache.isEnabled {
            throw try root.required("parallelism").object().required("schedule").failure(
                expected:
                    "\"1f1b\" \(technique.isCacheable ? "without a cache" : "with technique \"\(technique.kind)\"")"
                    + ": streaming trains every epoch from the cache")
        }
        let fileName = reader.file.split(separator: "/").last.map(String.init) ?? "experiment"
        name = try root.optional("name")?.string() ?? String(fileName.prefix { $0 != "." })
        output = try Output(root.optional("output"), name: name)
    }

    private static func readTask(_ reader: JSONReader) throws -> (TaskSpecification, Pooling?) {
        let object = try reader.object(keys: [
            "kind", "name", "train", "validation", "max_sequence_length", "pooling", "labels", "label_style",
            "chat_template", "train_limit", "validation_limit",
        ])
        let kind = TaskKind(
            rawValue: try object.required("kind").choice(TaskKind.allCases.map(\.rawValue)))!
        let name = try object.optional("name")?.choice(GLUETask.allCases.map(\.rawValue))
        if kind == .glue, name == nil { _ = try object.required("name") }
        let specification = TaskSpecification(
            kind: kind, name: name.flatMap(GLUETask.init), train: try object.required("train").string(),
            validation: try object.optional("validation")?.string(),
            maximumSequenceLength: try object.optional("max_sequence_length")?.integer(in: 1...1_000_000)
                ?? 128,
            labels: try object.optional("labels")?.array().map { try $0.string() },
            labelStyle: try object.optional("label_style").map {
                LabelStyle(rawValue: try $0.choice(LabelStyle.allCases.map(\.rawValue)))!
            } ?? .words,
            chatTemplate: try object.optional("chat_template")?.string(),
            trainLimit: try object.optional("train_limit")?.integer(in: 1...Int.max),
            validationLimit: try object.optional("validation_limit")?.integer(in: 1...Int.max))
        let pooling = try object.optional("pooling").map {
            Pooling(rawValue: try $0.choice(Pooling.allCases.map(\.rawValue)))!
        }
        return (specification, pooling)
    }
}

extension Experiment.Model {
    fileprivate init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["path", "initialization", "seed"])
        path = try object.required("path").string()
        if let value = object.optional("initialization") {
            initialization = .init(rawValue: try value.choice(Initialization.allCases.map(\.rawValue)))!
        }
        if let value = object.optional("seed") { seed = try value.integer(in: 0...Int.max) }
    }
}

extension Experiment.Training {
    fileprivate init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "epochs", "mini_batch_size", "micro_batch_count", "learning_rate", "weight_decay", "optimizer",
            "warmup_steps", "warmup_ratio", "schedule", "max_gradient_norm", "dropout", "shuffle", "seed",
            "max_steps",
        ])
        if let value = object.optional("epochs") { epochs = try value.integer(in: 1...1_000_000) }
        if let value = object.optional("mini_batch_size") {
            miniBatchSize = try value.integer(in: 1...1 << 20)
        }
        microBatchCount = try object.optional("micro_batch_count")?.integer(in: 1...1 << 20)
        if let value = object.optional("learning_rate") { learningRate = try value.number(in: 0...1e6) }
        if let value = object.optional("weight_decay") { weightDecay = try value.number(in: 0...1e6) }
        if let value = object.optional("optimizer") {
            optimizer = OptimizerKind(rawValue: try value.choice(OptimizerKind.allCases.map(\.rawValue)))!
        }
        if let value = object.optional("warmup_steps") { warmupSteps = try value.integer(in: 0...Int.max) }
        warmupRatio = try object.optional("warmup_ratio")?.number(in: 0...1)
        if let value = object.optional("schedule") {
            learningRateDecay = .init(
                rawValue: try value.choice(LearningRateSchedule.Decay.allCases.map(\.rawValue)))!
        }
        // Written as null, clipping is off; left out, the default holds.
        if reader.value["max_gradient_norm"] != nil {
            maximumGradientNorm = try object.optional("max_gradient_norm")?.number(in: 1e-12...1e12)
        }
        dropout = try object.optional("dropout")?.number(in: 0...0.99)
        if let value = object.optional("shuffle") { isShuffled = try value.bool() }
        if let value = object.optional("seed") { seed = try value.integer(in: 0...Int.max) }
        maximumSteps = try object.optional("max_steps")?.integer(in: 1...Int.max)
        if let count = microBatchCount, miniBatchSize % count != 0 {
            throw object.optional("micro_batch_count")!.failure(
                expected: "a divisor of mini_batch_size \(miniBatchSize)")
        }
    }
}

extension Experiment.Parallelism {
    fileprivate init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "system", "plan", "planner", "profile", "schedule", "wait_limit_seconds",
        ])
        if let value = object.optional("system") {
            system = System(rawValue: try value.choice(System.allCases.map(\.rawValue)))!
        }
        if let value = object.optional("schedule") {
            firstPass = FirstPass(rawValue: try value.choice(FirstPass.allCases.map(\.rawValue)))!
        }
        if let value = object.optional("wait_limit_seconds") { waitLimit = try value.number(in: 0.001...1e9) }
        if let value = object.optional("planner") {
            planner = PlannerKind(rawValue: try value.choice(PlannerKind.allCases.map(\.rawValue)))!
        }
        if let value = object.optional("profile") {
            profile = try value.string()
            guard system != .plan else {
                throw value.failure(expected: "null where system is \"plan\", which needs no profile")
            }
        }
        guard system == .plan else {
            if let value = object.optional("plan") {
                throw value.failure(expected: "null unless system is \"plan\"")
            }
            return
        }
        let value = try object.required("plan")
        if let path = value.value.string {
            plan = try JSONReader(contentsOf: path)
        } else {
            _ = try value.object()
            plan = value
        }
    }
}

extension Experiment.Device {
    fileprivate init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["memory_budget_bytes", "threads"])
        memoryBudget = try object.optional("memory_budget_bytes").map { try ByteBudget($0) }
        if let value = object.optional("threads") { threads = try ThreadCount(value) }
    }
}

extension Experiment.Cache {
    /// The default: on where the technique can be cached.
    fileprivate init(_ technique: any TuningTechnique) { isEnabled = technique.isCacheable }

    fileprivate init(_ reader: JSONReader, _ technique: any TuningTechnique) throws {
        let object = try reader.object(keys: [
            "enabled", "directory", "precision", "budget_bytes", "keep", "moves_early",
        ])
        isEnabled = try object.optional("enabled")?.bool() ?? technique.isCacheable
        directory = try object.optional("directory")?.string()
        if let value = object.optional("precision") {
            precision = CachePrecision(rawValue: try value.choice(CachePrecision.allCases.map(\.rawValue)))!
        }
        budget = try object.optional("budget_bytes").map { try ByteBudget($0) }
        if let value = object.optional("keep") { keep = try value.bool() }
        if let value = object.optional("moves_early") { movesEarly = try value.bool() }
        for key in ["enabled", "keep"] where !technique.isCacheable {
            guard let value = object.optional(key), try value.bool() else { continue }
            throw value.failure(
                expected:
                    "false with technique \"\(technique.kind)\": it trains inside the backbone, so what would "
                    + "be cached changes with every step; only \"\(ParallelAdapters.kind)\" leaves it as it is"
            )
        }
    }
}

extension Experiment.Output {
    fileprivate init(_ reader: JSONReader?, name: String) throws {
        directory = "runs/\(name)"
        guard let reader else { return }
        let object = try reader.object(keys: ["directory", "checkpoint_steps", "checkpoint_seconds"])
        if let value = object.optional("directory") { directory = try value.string() }
        checkpointSteps = try object.optional("checkpoint_steps")?.integer(in: 1...Int.max)
        // Written as null, no time brings a checkpoint; left out, the default holds.
        if reader.value["checkpoint_seconds"] != nil {
            checkpointSeconds = try object.optional("checkpoint_seconds")?.number(in: 0...1e9)
        }
    }
}
