import Models
import Support
import TensorCore
import TextData
import Tokenizers
import WeightFiles

/// The unit tables: position buckets, activation functions, AdamW under a schedule with clipping, and GLUE.
enum TableVerification {
    static func rows(_ directory: String) -> [VerificationReport.Row] {
        Comparisons.rows("tables", "") { comparisons in
            let file = try SafetensorsFile(directory + "/tables.safetensors")
            try comparePositionBuckets(file, &comparisons)
            try compareActivationFunctions(file, &comparisons)
            let path = directory + "/tables.json"
            let tables = try JSONReader(contentsOf: path).object()
            try compareOptimizer(file, tables.required("adamw").object(), &comparisons)
            let tokenizer = try Tokenizer(contentsOf: directory + "/../tokenizers/unigram_t5")
            try GLUETableVerification(tokenizer).compare(tables, &comparisons)
        }
    }

    /// Tensors "t5_bucket.<buckets>.<maximum distance>.<bidirectional or causal>".
    private static func comparePositionBuckets(_ file: SafetensorsFile, _ comparisons: inout Comparisons)
        throws
    {
        let distances = try file.integers("t5_bucket.rel")
        for name in file.entries.keys.sorted() where name.hasPrefix("t5_bucket.") && name != "t5_bucket.rel" {
            let parts = name.split(separator: ".")
            guard parts.count == 4, let count = Int(parts[1]), let maximum = Int(parts[2]) else {
                throw Failure.configuration(
                    "\(file.path): expected t5_bucket.COUNT.MAXIMUM.KIND, found \"\(name)\"")
            }
            let buckets = RelativeBuckets(
                count: count, maximumDistance: maximum, isBidirectional: parts[3] == "bidirectional")
            let found = distances.map { Int32(buckets(Int($0))) }
            comparisons.exact(found, try file.integers(name), .positionBuckets, name)
        }
    }

    /// Values and derivatives, each over its largest magnitude.
    private static func compareActivationFunctions(_ file: SafetensorsFile, _ comparisons: inout Comparisons)
        throws
    {
        let ledger = Ledger()
        let arguments = try file.floats("act.x")
        let functions: [(String, ActivationFunction)] = [
            ("relu", .relu), ("silu", .silu), ("gelu_erf", .gelu), ("gelu_tanh", .geluTanh),
        ]
        for (name, function) in functions {
            let x = Tensor(arguments, rows: 1, columns: arguments.count, ledger: ledger).asLeaf
            let y = activation(x, function)
            let ones = Tensor(rows: 1, columns: arguments.count, category: .gradients, ledger: ledger)
            ones.fill(1)
            backward(from: [y], seeds: [ones])
            comparisons.near(y.values, try file.doubles("act.\(name)"), .activationFunctions, "act.\(name)")
            let derivative = "act.\(name).derivative"
            comparisons.near(
                x.node!.gradient!.values, try file.doubles(derivative), .activationFunctions, derivative)
        }
    }

    /// Two tensors, as many steps as there are rates, the global norm clipped.
    private static func compareOptimizer(
        _ file: SafetensorsFile, _ settings: JSONObjectReader, _ comparisons: inout Comparisons
    ) throws {
        func number(_ key: String) throws -> Double { try settings.required(key).number() }
        func list(_ key: String) throws -> [Double] {
            try settings.required(key).array().map { try $0.number() }
        }
        let (rates, norms, betas) = (try list("lr"), try list("grad_norm"), try list("betas"))
        guard betas.count == 2, norms.count == rates.count else {
            throw settings.reader.failure(expected: "two betas and a norm for every rate")
        }
        let schedule = LearningRateSchedule(
            peak: try number("lr0"), decay: .linear, warmupSteps: try settings.required("warmup").integer(),
            totalSteps: try settings.required("total").integer())
        let ledger = Ledger()
        let shapes = ["p", "q"].map { ($0, file.entries["adamw.\($0)0"]?.shape ?? []) }
        let bucket = ParameterBucket(shapes.map { .init(name: $0.0, shape: $0.1) }, ledger: ledger)
        for (name, _) in shapes { bucket.set(name, try file.floats("adamw.\(name)0")) }
        let adamW = AdamW(
            parameterCount: bucket.count, weightDecay: Float(try number("weight_decay")),
            beta1: Float(betas[0]),
            beta2: Float(betas[1]), epsilon: Float(try number("eps")), ledger: ledger)
        for (step, rate) in rates.enumerated() {
            var squaredNorm = 0.0
            for (name, _) in shapes {
                let gradient = try file.floats("adamw.step\(step).grad_\(name)")
                for (index, value) in zip(bucket.range(of: name)!, gradient) {
                    bucket.gradients.pointer[index] = value
                    squaredNorm += Double(value) * Double(value)
                }
            }
            let scheduled = schedule.rate(afterCompleted: step)
            comparisons.near([Float(scheduled)], [rate], over: 1, .optimizer, "lr[\(step)]")
            let norm = Float(squaredNorm.squareRoot())
            comparisons.near([norm], [norms[step]], .optimizer, "grad_norm[\(step)]")
            let scale = clippingScale(squaredNorm: squaredNorm, maximumNorm: try number("clip"))
            adamW.step(bucket, learningRate: Float(scheduled), gradientScale: scale)
            for (name, _) in shapes {
                let values = bucket.range(of: name)!.map { bucket.values.pointer[$0] }
                let stored = "adamw.step\(step).\(name)"
                comparisons.near(values, try file.doubles(stored), over: 1, .optimizer, stored)
            }
        }
    }
}
