import Models
import Support
import TensorCore
import WeightFiles

/// What every technique is compared in: losses, logits and gradients at a variant's values, and 20 steps of training.
struct TechniqueVerification {
    /// A way to run a batch: its label in the report, and the state that it leaves.
    typealias Pass = (label: String, run: (_ batch: Int) -> HiddenState)

    /// The variants that the file has: "init" and "perturbed", or one of them.
    let variants: [String]
    private let file: SafetensorsFile
    private let batches: [ReferenceBatch]
    private let model: CaseModel
    private let passes: [Pass]
    private let optimizer: ReferenceOptimizer

    /// Compares a technique that trains inside the backbone.
    static func compare(
        _ reference: ReferenceCase, _ technique: any TuningTechnique, file name: String,
        _ comparisons: inout Comparisons
    ) throws {
        let model = try CaseModel(reference, technique)
        let batches = try reference.batches()
        let verification = try Self(
            reference, try reference.open(name), model, batches,
            passes: [("", { model.model.forward(nil, batches[$0].packed) })])
        for variant in verification.variants {
            try verification.load(variant)
            try verification.compare(variant, &comparisons)
        }
    }

    /// - Throws: when the file has no variant.
    init(
        _ reference: ReferenceCase, _ file: SafetensorsFile, _ model: CaseModel, _ batches: [ReferenceBatch],
        passes: [Pass]
    ) throws {
        self.file = file
        self.batches = batches
        self.model = model
        self.passes = passes
        optimizer = try ReferenceOptimizer(reference.manifest)
        variants = ["init", "perturbed"].filter { file.entries[$0 + ".loss_f64"] != nil }
        guard !variants.isEmpty else {
            throw Failure.configuration(
                "\(file.path): expected losses of the variant \"init\" or \"perturbed\", found none")
        }
    }

    /// Gives the trainable tensors a variant's values; where the file has none, as for full tuning, the checkpoint's. The
    /// names must be the same here and there.
    func load(_ variant: String) throws {
        let bucket = model.model.parameters
        let prefix = variant + ".param."
        var stored = Set(names(prefix))
        let isCheckpoint = stored.isEmpty
        if isCheckpoint { stored = Set(names(variant + ".grad.")) }
        let declared = Set(bucket.declarations.map(\.name))
        guard stored == declared else {
            let name = stored.symmetricDifference(declared).sorted()[0]
            throw Failure.configuration(
                "\(file.path): expected the trainable tensors of this build, found that only "
                    + "\(stored.contains(name) ? "the file" : "this build") has \"\(name)\"")
        }
        for declaration in bucket.declarations {
            guard !isCheckpoint else {
                bucket.set(
                    declaration.name,
                    try model.source.parameter(declaration.name, declaration.shape).values)
                continue
            }
            let shape = file.entries[prefix + declaration.name]!.shape
            guard shape == declaration.shape else {
                throw Failure.configuration(
                    "\(file.path): tensor \"\(prefix)\(declaration.name)\": expected shape \(declaration.shape), "
                        + "found \(shape)")
            }
            bucket.set(declaration.name, try file.floats(prefix + declaration.name))
        }
    }

    /// Compares a variant whose values are loaded. The training at the end changes them.
    func compare(_ variant: String, _ comparisons: inout Comparisons) throws {
        try compareLossesAndGradients(variant, &comparisons)
        try compareTraining(variant, &comparisons)
    }

    private func names(_ prefix: String) -> [String] {
        file.entries.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
    }

    private func compareLossesAndGradients(_ variant: String, _ comparisons: inout Comparisons) throws {
        let losses = try file.doubles(variant + ".loss_f64")
        guard losses.count == batches.count else {
            throw Failure.configuration(
                "\(file.path): tensor \"\(variant).loss_f64\": expected \(batches.count) losses, "
                    + "found \(losses.count)")
        }
        let bucket = model.model.parameters
        var gradients: [String: [Double]] = [:]
        for declaration in bucket.declarations {
            gradients[declaration.name] = try file.doubles("\(variant).grad.\(declaration.name)")
        }
        let largest = gradients.values.joined().reduce(0) { max($0, abs($1)) }
        for (i, batch) in batches.enumerated() {
            for (label, run) in passes {
                let state = run(i)
                let name = variant + ".logits"
                // Not stored for the untouched checkpoint, whose logits are the backbone's.
                if i == 0, file.entries[name] != nil {
                    let stored = try file.doubles(name)
                    let logits = model.model.logits(state, batch.packed).values.prefix(stored.count)
                    comparisons.near(Array(logits), stored, .activations, name + label)
                }
                let loss = model.lossAndGradients(state, batch.packed)
                comparisons.near(
                    [loss], [losses[i]], over: 1, .losses, "\(variant).loss_f64, batch \(i)\(label)")
                guard i == 0 else { continue }
                for declaration in bucket.declarations {
                    comparisons.near(
                        bucket.gradient(of: declaration.name)!, gradients[declaration.name]!, over: largest,
                        .gradients, "\(variant).grad.\(declaration.name)\(label)")
                }
            }
        }
    }

    /// Trains on the last of the passes.
    private func compareTraining(_ variant: String, _ comparisons: inout Comparisons) throws {
        let bucket = model.model.parameters
        let adamW = optimizer.make(for: bucket, ledger: model.ledger)
        func loss(_ i: Int) -> Float { model.lossAndGradients(passes.last!.run(i), batches[i].packed) }
        let trajectory = (0..<optimizer.stepCount).map { step in
            let loss = loss(step % batches.count)
            adamW.step(bucket, learningRate: optimizer.learningRate, gradientScale: 1)
            return loss
        }
        for (name, found) in [("trajectory_f64", trajectory), ("after_f64", batches.indices.map(loss))] {
            let name = "\(variant).\(name)"
            comparisons.near(found, try file.doubles(name), over: 1, .trajectories, name)
        }
        let prefix = variant + ".param_after."
        guard !names(prefix).isEmpty else { return }
        for declaration in bucket.declarations where !hasZeroGradient(declaration.name) {
            let values = bucket.range(of: declaration.name)!.map { bucket.values.pointer[$0] }
            let name = prefix + declaration.name
            comparisons.near(values, try file.doubles(name), over: 1, .finalParameters, name)
        }
    }

    /// The attention's key biases of BERT and BART: softmax does not see them, so what AdamW scales up is rounding. Under
    /// rotary positions it does.
    private func hasZeroGradient(_ name: String) -> Bool {
        let family = model.family
        return family.stacks.contains { stack in
            (0..<stack.blockCount).contains { index in
                family.block(stack.kind, index).attentions.contains {
                    $0.positions != .rotary
                        && (name == "\(SideNetwork.prefix)\($0.key).bias" || name == "\($0.key).bias")
                }
            }
        }
    }
}

/// The manifest's optimizer.
private struct ReferenceOptimizer {
    let stepCount: Int
    let learningRate: Float
    private let weightDecay: Float
    private let betas: [Float]
    private let epsilon: Float

    init(_ manifest: ReferenceManifest) throws {
        let object = try manifest.object.required("optimizer").object()
        func number(_ key: String) throws -> Float { Float(try object.required(key).number()) }
        stepCount = try object.required("steps").integer(in: 1...10_000)
        learningRate = try number("lr")
        weightDecay = try number("weight_decay")
        epsilon = try number("eps")
        let betas = try object.required("betas")
        self.betas = try betas.array().map { Float(try $0.number(in: 0...1)) }
        guard self.betas.count == 2 else { throw betas.failure(expected: "two numbers") }
    }

    func make(for bucket: ParameterBucket, ledger: Ledger) -> AdamW {
        AdamW(
            parameterCount: bucket.count, weightDecay: weightDecay, beta1: betas[0], beta2: betas[1],
            epsilon: epsilon,
            ledger: ledger)
    }
}
