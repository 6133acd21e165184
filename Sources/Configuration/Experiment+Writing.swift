import Support

extension Experiment {
    /// The resolved experiment: every key, in the order of the documentation.
    package var json: JSONValue {
        .dictionary([
            ("name", .string(name)),
            (
                "model",
                .dictionary([
                    ("path", .string(model.path)), ("initialization", .string(model.initialization.rawValue)),
                    ("seed", JSONValue(model.seed)),
                ])
            ),
            ("task", taskJSON),
            ("technique", technique.json),
            ("training", trainingJSON),
            (
                "parallelism",
                .dictionary([
                    ("system", .string(parallelism.system.rawValue)),
                    ("plan", parallelism.plan?.value ?? .null),
                    ("planner", .string(parallelism.planner.rawValue)),
                    ("profile", parallelism.profile.map(JSONValue.string) ?? .null),
                    ("schedule", .string(parallelism.firstPass.rawValue)),
                    ("wait_limit_seconds", JSONValue(parallelism.waitLimit)),
                ])
            ),
            (
                "device",
                .dictionary([
                    ("memory_budget_bytes", device.memoryBudget?.json ?? .null),
                    ("threads", device.threads.json),
                ])
            ),
            (
                "cache",
                .dictionary([
                    ("enabled", .bool(cache.isEnabled)),
                    ("directory", cache.directory.map(JSONValue.string) ?? .null),
                    ("precision", .string(cache.precision.rawValue)),
                    ("budget_bytes", cache.budget?.json ?? .null), ("keep", .bool(cache.keep)),
                    ("moves_early", .bool(cache.movesEarly)),
                ])
            ),
            (
                "output",
                .dictionary([
                    ("directory", .string(output.directory)),
                    ("checkpoint_steps", JSONValue(optional: output.checkpointSteps)),
                    ("checkpoint_seconds", JSONValue(optional: output.checkpointSeconds)),
                ])
            ),
        ])
    }

    private var taskJSON: JSONValue {
        .dictionary([
            ("kind", .string(task.kind.rawValue)), ("name", task.name.map { .string($0.rawValue) } ?? .null),
            ("train", .string(task.train)), ("validation", task.validation.map(JSONValue.string) ?? .null),
            ("max_sequence_length", JSONValue(task.maximumSequenceLength)),
            ("pooling", pooling.map { .string($0.rawValue) } ?? .null),
            ("labels", task.labels.map { .array($0.map(JSONValue.string)) } ?? .null),
            ("label_style", .string(task.labelStyle.rawValue)),
            ("chat_template", task.chatTemplate.map(JSONValue.string) ?? .null),
            ("train_limit", JSONValue(optional: task.trainLimit)),
            ("validation_limit", JSONValue(optional: task.validationLimit)),
        ])
    }

    private var trainingJSON: JSONValue {
        .dictionary([
            ("epochs", JSONValue(training.epochs)), ("mini_batch_size", JSONValue(training.miniBatchSize)),
            ("micro_batch_count", JSONValue(optional: training.microBatchCount)),
            ("learning_rate", JSONValue(training.learningRate)),
            ("weight_decay", JSONValue(training.weightDecay)),
            ("optimizer", .string(training.optimizer.rawValue)),
            ("warmup_steps", JSONValue(training.warmupSteps)),
            ("warmup_ratio", JSONValue(optional: training.warmupRatio)),
            ("schedule", .string(training.learningRateDecay.rawValue)),
            ("max_gradient_norm", JSONValue(optional: training.maximumGradientNorm)),
            ("dropout", JSONValue(optional: training.dropout)), ("shuffle", .bool(training.isShuffled)),
            ("seed", JSONValue(training.seed)), ("max_steps", JSONValue(optional: training.maximumSteps)),
        ])
    }
}

extension JSONValue {
    /// A number, or null.
    package init(optional number: Int?) { self = number.map { JSONValue($0) } ?? .null }
    package init(optional number: Double?) { self = number.map { JSONValue($0) } ?? .null }
}
