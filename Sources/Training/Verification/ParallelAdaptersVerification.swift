import Models
import Support
import TensorCore

/// Parallel Adapters on a case: what is pruned, what the side network computes, its gradients and its training.
struct ParallelAdaptersVerification {
    private let file: SafetensorsFile
    private let batches: [ReferenceBatch]
    private let model: CaseModel
    private let caches: [CachedActivations]
    private let optimizer: ReferenceOptimizer

    static func compare(_ reference: ReferenceCase, file name: String, _ comparisons: inout Comparisons)
        throws
    {
        let verification = try Self(reference, name)
        let isSideOnly = name.hasSuffix(ReferenceCase.sideOnlySuffix)
        if !isSideOnly { try verification.compareInitialization(&comparisons) }
        for variant in isSideOnly ? ["perturbed"] : ["init", "perturbed"] {
            try verification.load(variant)
            if variant == "perturbed" { try verification.compareActivations(&comparisons) }
            try verification.compareLossesAndGradients(variant, &comparisons)
            try verification.compareGreedyIDs(variant, &comparisons)
            try verification.compareTraining(variant, &comparisons)
        }
    }

    private init(_ reference: ReferenceCase, _ name: String) throws {
        file = try reference.open(name)
        batches = try reference.batches()
        let model = try CaseModel(
            reference, merge: name.hasSuffix(ReferenceCase.sideOnlySuffix) ? .sideOnly : .sum)
        self.model = model
        caches = batches.map { CachedActivations(model, $0.packed) }
        optimizer = try ReferenceOptimizer(reference.manifest)
    }

    /// Gives the trainable tensors a variant's values. The names must be the same here and there.
    private func load(_ variant: String) throws {
        let bucket = model.model.parameters
        let prefix = variant + ".param."
        let stored = Set(
            file.entries.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) })
        let declared = Set(bucket.declarations.map(\.name))
        guard stored == declared else {
            let name = stored.symmetricDifference(declared).sorted()[0]
            throw Failure.configuration(
                "\(file.path): expected the trainable tensors of this build, found that only "
                    + "\(stored.contains(name) ? "the file" : "this build") has \"\(name)\"")
        }
        for declaration in bucket.declarations {
            let values = try file.floats(prefix + declaration.name)
            let shape = file.entries[prefix + declaration.name]!.shape
            guard shape == declaration.shape else {
                throw Failure.configuration(
                    "\(file.path): tensor \"\(prefix)\(declaration.name)\": expected shape \(declaration.shape), "
                        + "found \(shape)")
            }
            bucket.set(declaration.name, values)
        }
    }

    private func compareInitialization(_ comparisons: inout Comparisons) throws {
        let reduced: any ModelFamily = try model.family.reduced(by: model.adapters.reductionFactor)
        let embedding = try model.source.parameter(
            model.family.tokenEmbeddingName, [model.family.vocabularySize, model.family.hiddenSize])
        let residual = StructuralPruning.residualChannels(embedding, keeping: reduced.hiddenSize)
        let initial = try SideInitialization(
            model.family, model.adapters, steps: model.model.steps, residual: residual, backbone: model.source
        )

        func plan(_ name: String, _ kept: [Int]) throws {
            comparisons.exact(kept.map(Int32.init), try file.integers("prune." + name), .pruningPlan, name)
        }
        try plan("residual", residual)
        for (prefix, block) in initial.plans {
            for attention in block.attentions {
                try plan("\(prefix)\(attention.kind.rawValue).qk", Array(attention.qk.joined()))
                try plan("\(prefix)\(attention.kind.rawValue).vo", Array(attention.vo.joined()))
            }
            try plan(prefix + "ffn", block.feedForward)
        }
        if let frequencies = reduced.rotaryFrequencies(model.family.lastStack.kind) {
            let name = "side_inv_freq"
            comparisons.near(frequencies, try file.doubles(name), .activations, name)
        }
        let values = initial.values + (try model.headValues())
        let stored = file.entries.keys.filter { $0.hasPrefix("init.param.") }
        comparisons.exact(
            values.map(\.name).sorted(), stored.map { String($0.dropFirst("init.param.".count)) }.sorted(),
            .initialTensors, "names")
        for (name, tensor) in values {
            comparisons.exact(
                tensor.map(\.bitPattern), try file.floats("init.param." + name).map(\.bitPattern),
                .initialTensors, name)
        }
    }

    /// Every u, a, final and z of the first batch.
    private func compareActivations(_ comparisons: inout Comparisons) throws {
        let (batch, cache, side) = (batches[0], caches[0], model.model.side)
        func near(_ found: Tensor, _ stack: StackKind, _ name: String) throws {
            let name = "perturbed.batch0.\(name)"
            comparisons.near(found.values, try batch.real(name, stack, in: file), .activations, name)
        }
        var lane: Lane?
        for step in model.model.steps {
            guard let (stack, layer) = step.activation else { continue }
            let b = cache(stack, layer)
            if let lane, case .block = step {
                try near(side.blockInput(lane, step, activation: b), stack, "\(stack.rawValue).u\(layer)")
            }
            lane = side.advance(lane, past: step, activation: b, batch.packed, dropout: nil)
            try near(lane!.hidden, stack, "\(stack.rawValue).a\(layer)")
            if layer == 0, let memory = lane!.encoderOutput { try near(memory, .encoder, "encoder.final") }
        }
        let last = model.family.lastStack.kind
        try near(side.final(lane!, batch.packed, dropout: nil), last, "\(last.rawValue).final")
        let state = model.model.forward(batch.packed, activation: cache.callAsFunction)
        let everyRow = RowSelection.rows(Array(0..<batch.rows(last).count))
        try near(model.model.finalHidden(state, batch.packed, selection: everyRow), last, "z")
    }

    /// From the backbone's own pass and from cached activations.
    private func compareLossesAndGradients(_ variant: String, _ comparisons: inout Comparisons) throws {
        let losses = try file.doubles(variant + ".loss_f64")
        let bucket = model.model.parameters
        var gradients: [String: [Double]] = [:]
        for declaration in bucket.declarations {
            gradients[declaration.name] = try file.doubles("\(variant).grad.\(declaration.name)")
        }
        let largest = gradients.values.joined().reduce(0) { max($0, abs($1)) }
        for (i, batch) in batches.enumerated() {
            let passes = [
                ("", model.model.forward(nil, batch.packed)),
                (", cached", model.model.forward(batch.packed, activation: caches[i].callAsFunction)),
            ]
            for (kind, state) in passes {
                if i == 0 {
                    let name = variant + ".logits"
                    let stored = try file.doubles(name)
                    let logits = model.model.logits(state, batch.packed).values.prefix(stored.count)
                    comparisons.near(Array(logits), stored, .activations, name + kind)
                }
                let loss = model.lossAndGradients(state, batch.packed)
                guard losses.count == batches.count else {
                    throw Failure.configuration(
                        "\(file.path): tensor \"\(variant).loss_f64\": expected \(batches.count) losses, "
                            + "found \(losses.count)")
                }
                comparisons.near(
                    [loss], [losses[i]], over: 1, .losses, "\(variant).loss_f64, batch \(i)\(kind)")
                guard i == 0 else { continue }
                for declaration in bucket.declarations {
                    comparisons.near(
                        bucket.gradient(of: declaration.name)!, gradients[declaration.name]!, over: largest,
                        .gradients,
                        "\(variant).grad.\(declaration.name)\(kind)")
                }
            }
        }
    }

    private func compareTraining(_ variant: String, _ comparisons: inout Comparisons) throws {
        let bucket = model.model.parameters
        let adamW = optimizer.make(for: bucket, ledger: model.ledger)
        func loss(_ i: Int) -> Float {
            model.lossAndGradients(
                model.model.forward(batches[i].packed, activation: caches[i].callAsFunction),
                batches[i].packed)
        }
        let trajectory = (0..<optimizer.stepCount).map { step in
            let loss = loss(step % batches.count)
            adamW.step(bucket, learningRate: optimizer.learningRate, gradientScale: 1)
            return loss
        }
        for (name, found) in [("trajectory_f64", trajectory), ("after_f64", batches.indices.map(loss))] {
            let name = "\(variant).\(name)"
            comparisons.near(found, try file.doubles(name), over: 1, .trajectories, name)
        }
        for declaration in bucket.declarations where !hasZeroGradient(declaration.name) {
            let name = "\(variant).param_after.\(declaration.name)"
            guard variant == "perturbed" else { continue }
            let values = bucket.range(of: declaration.name)!.map { bucket.values.pointer[$0] }
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
                    $0.positions != .rotary && name == "side.\($0.key).bias"
                }
            }
        }
    }

    /// Greedy decoding with the key/value caches, and without them.
    private func compareGreedyIDs(_ variant: String, _ comparisons: inout Comparisons) throws {
        let name = variant + ".greedy"
        guard let startID = model.family.generationTokens?.start, let entry = file.entries[name] else {
            return
        }
        let steps = entry.shape.last ?? 0
        let expected = try file.integers(name)
        let sequences = batches[0].packed.inputSpans.map { span in Array(batches[0].packed.input.ids[span]) }
        for usesCaches in [true, false] {
            let found = greedyIDs(
                sequences, startID: startID, stepCount: steps, usesCaches: usesCaches)
            comparisons.exact(found, expected, .greedyIDs, name + (usesCaches ? "" : ", no caches"))
        }
    }

    private func greedyIDs(_ sources: [[Int32]], startID: Int32, stepCount: Int, usesCaches: Bool) -> [Int32]
    {
        var decoded = sources.map { _ in [startID] }
        var state: HiddenState?
        let caches = usesCaches ? StageCaches(capacity: stepCount) : nil
        for step in 0..<stepCount {
            let batch = MicroBatch(
                sampleIDs: Array(sources.indices), inputs: sources, types: sources.map { $0.map { _ in 0 } },
                decoderInputs: usesCaches ? decoded.map { [$0.last!] } : decoded, targets: .none,
                firstPositions: usesCaches ? sources.map { _ in step } : nil)
            let next = model.model.forward(usesCaches ? state : nil, batch, caches: caches)
            state = next
            let lastRows = RowSelection.rows(batch.decoderSpans.map { $0.upperBound - 1 })
            for (i, id) in argmax(model.model.logits(next, batch, selection: lastRows)).enumerated() {
                decoded[i].append(id)
            }
        }
        return decoded.flatMap { $0.dropFirst() }
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
