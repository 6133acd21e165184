import Models
import TensorCore
import Testing
import TinyModels

/// What stays in memory between forward and backward: nothing of the backbone but the activations b, which the
/// down-projections read, and what the narrow side network saves.
@Suite struct MemoryTests {
    @Test("a frozen backbone leaves nothing behind", arguments: TinyModel.all)
    func aFrozenBackboneLeavesNothingBehind(model: TinyModel) throws {
        let ledger = Ledger()
        let family = try model.family()
        let steps = family.steps(of: 0..<family.plannerLayers.count)
        let slice = try BackboneSlice(family, steps: steps, source: model.source(ledger))
        let batch = try model.batch()
        do {
            var lane: Lane?
            for step in steps { lane = slice.advance(lane, step, batch) }
            #expect(ledger.recordedNodeCount == 0)
            let kept = lane!.hidden.count + (lane!.encoderOutput?.count ?? 0)
            #expect(ledger.live(.activations) == 4 * kept)
        }
        #expect(ledger.live(.activations) == 0)
    }

    @Test("BERT's side network saves what the formula says") func bertsSideNetworkSavesWhatTheFormulaSays()
        throws
    {
        for (model, pooling) in [
            (TinyModel.all[0], Pooling.cls), (TinyModel.all[0], .mean), (TinyModel.all[1], .cls),
        ] {
            let sizes = model.name == "bert_cls" ? (L: 3, d: 32, r: 8, f: 16) : (L: 2, d: 32, r: 4, f: 4)
            let (n, m) = (15, 3)
            let gate = 2 * n * sizes.r
            // u; q, k, v; the heads' mix; two normed sums with statistics; the first norm's result; both sides of GELU
            let block = 8 * n * sizes.r + 2 * 2 * n + 2 * n * sizes.f
            // s of the rows that count; the pooler's tanh, or z itself, before the classifier
            let head = m * sizes.r + m * sizes.d
            let floats = (sizes.L + 1) * n * sizes.d + sizes.L * (gate + block) + head
            try check(model, pooling: pooling, batch: model.batch(inputs: [5, 1, 9]), floats: floats)
        }
    }

    @Test("T5's side network saves what the formula says") func t5sSideNetworkSavesWhatTheFormulaSays() throws
    {
        for model in TinyModel.all[2...3] {
            let sizes =
                model.name == "t5_v1_0"
                ? (encoder: 3, decoder: 2, d: 48, r: 6, w: 6, f: 8, inner: 1)
                : (encoder: 2, decoder: 3, d: 32, r: 8, w: 6, f: 12, inner: 3)
            let (n, m) = (15, 8)
            func norm(_ rows: Int) -> Int { rows * sizes.r + rows }
            func gate(_ rows: Int) -> Int { 2 * rows * sizes.r }
            // The normed rows that the input matrices read; ReLU's result, or gate, up and their product.
            func feedForward(_ rows: Int) -> Int {
                norm(rows) + rows * sizes.r + sizes.inner * rows * sizes.f
            }
            // Normed rows; q, k, v and the heads' mix.
            func own(_ rows: Int) -> Int { norm(rows) + rows * sizes.r + 4 * rows * sizes.w }
            let cross = norm(m) + m * sizes.r + 2 * m * sizes.w + 2 * n * sizes.w
            let encoder = sizes.encoder * (gate(n) + own(n) + feedForward(n)) + norm(n)
            let decoder = sizes.decoder * (gate(m) + own(m) + cross + feedForward(m)) + norm(m)
            let activations = (sizes.encoder + 1) * n * sizes.d + (sizes.decoder + 1) * m * sizes.d
            // The encoder's result, read by every cross-attention; s of the decoder's rows.
            let ends = n * sizes.r + m * sizes.r
            try check(
                model, pooling: .cls, batch: model.batch(inputs: [5, 1, 9], outputs: [3, 4, 1]),
                floats: activations + encoder + decoder + ends)
        }
    }

    @Test("Llama's side network saves what the formula says: rotations leave nothing behind")
    func llamasSideNetworkSavesWhatTheFormulaSays() throws {
        // Widths of queries and of keys are H·h' and H_kv·h'.
        let sizes = (L: 3, d: 32, r: 8, q: 16, k: 8, f: 12)
        let (n, m) = (15, 5)
        let norm = n * sizes.r + n
        let gate = 2 * n * sizes.r
        // Normed rows; rotated q and k, v and the heads' mix.
        let own = norm + n * sizes.r + 2 * n * sizes.q + 2 * n * sizes.k
        let feedForward = norm + n * sizes.r + 3 * n * sizes.f
        let floats =
            (sizes.L + 1) * n * sizes.d + sizes.L * (gate + own + feedForward) + norm + m * sizes.r
        let model = TinyModel.named("llama")
        try check(
            model, pooling: .cls, batch: model.batch(inputs: [5, 1, 9], outputs: [3, 4, 1]), floats: floats)
    }

    @Test("BART's side network saves what the formula says") func bartsSideNetworkSavesWhatTheFormulaSays()
        throws
    {
        let sizes = (L: 2, d: 32, r: 8, encoder: 16, decoder: 12)
        let (n, samples) = (15, 3)
        let gate = 2 * n * sizes.r
        let sum = n * sizes.r + 2 * n  // what a norm of a sum keeps, with its statistics
        // q, k, v and the heads' mix, the normed sum, and its result, which the next sub-layer reads.
        let attention = 4 * n * sizes.r + sum + n * sizes.r
        func feedForward(_ width: Int) -> Int { 2 * n * width + sum }
        let encoder = sizes.L * (gate + attention + feedForward(sizes.encoder))
        let decoder = sizes.L * (gate + 2 * attention + feedForward(sizes.decoder))
        let activations = 2 * (sizes.L + 1) * n * sizes.d
        // The encoder's result, read by every cross-attention; s, z and its tanh of the pooled rows. u is saved by
        // the gate alone: each block's first projections read the same tensor.
        let ends = n * sizes.r + samples * sizes.r + 2 * samples * sizes.d
        let model = TinyModel.named("bart_cls")
        let u = 2 * sizes.L * n * sizes.r
        try check(
            model, pooling: .cls, batch: model.batch(), floats: activations + encoder + decoder + u + ends)
    }

    /// Compares the bytes that the tape says, the ledger's, and the formula's.
    private func check(_ model: TinyModel, pooling: Pooling, batch: MicroBatch, floats: Int) throws {
        let ledger = Ledger()
        let stage = try model.stage(pooling: pooling, ledger: ledger)
        do {
            let logits = stage.logits(stage.forward(nil, batch), batch)
            #expect(logits.node!.savedBytes() == 4 * floats)
            #expect(ledger.live(.activations) == 4 * (floats + logits.count))
            let seed = Tensor(
                rows: logits.rows, columns: logits.columns, category: .gradients, ledger: ledger)
            seed.fill(1)
            backward(from: [logits], seeds: [seed])
            #expect(ledger.live(.activations) == 4 * logits.count, "backward frees what was saved")
        }
        #expect(ledger.live(.activations) == 0)
        #expect(ledger.live(.gradients) == 4 * stage.parameters.count)
        stage.releaseBackbone()
    }
}
