import Models
import Support
import TensorCore
import WeightFiles

/// Parallel Adapters on a case: what is pruned, what the side network computes and writes; then, from the backbone's own
/// pass and from cached activations, what every technique is compared in.
struct ParallelAdaptersVerification {
    private let file: SafetensorsFile
    private let batches: [ReferenceBatch]
    private let model: CaseModel
    private let technique: ParallelAdapters
    private let caches: [CachedActivations]
    private let training: TechniqueVerification

    static func compare(
        _ reference: ReferenceCase, _ technique: ParallelAdapters, file name: String,
        _ comparisons: inout Comparisons
    ) throws {
        let verification = try Self(reference, technique, name)
        if verification.technique.merge == .sum { try verification.compareInitialization(&comparisons) }
        for variant in verification.training.variants {
            try verification.training.load(variant)
            if variant == "perturbed" { try verification.compareActivations(&comparisons) }
            try verification.compareGreedyIDs(variant, &comparisons)
            try verification.training.compare(variant, &comparisons)
        }
    }

    private init(_ reference: ReferenceCase, _ technique: ParallelAdapters, _ name: String) throws {
        var technique = technique
        if name.hasSuffix(ReferenceCase.sideOnlySuffix) { technique.merge = .sideOnly }
        let model = try CaseModel(reference, technique)
        let batches = try reference.batches()
        let caches = batches.map { CachedActivations(model, $0.packed) }
        file = try reference.open(name)
        training = try TechniqueVerification(
            reference, file, model, batches,
            passes: [
                ("", { model.model.forward(nil, batches[$0].packed) }),
                (
                    ", cached",
                    { model.model.forward(batches[$0].packed, activation: caches[$0].callAsFunction) }
                ),
            ])
        (self.technique, self.model, self.batches, self.caches) = (technique, model, batches, caches)
    }

    private func compareInitialization(_ comparisons: inout Comparisons) throws {
        let reduced: any ModelFamily = try model.family.reduced(by: technique.reductionFactor)
        let embedding = try model.source.weight(
            model.family.tokenEmbeddingName, [model.family.vocabularySize, model.family.hiddenSize])
        let residual = StructuralPruning.residualChannels(embedding, keeping: reduced.hiddenSize)
        let initial = try SideInitialization(
            model.family, technique, steps: model.model.steps, residual: residual, backbone: model.source
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
        let (batch, cache, side) = (batches[0], caches[0], model.model.side!)
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
