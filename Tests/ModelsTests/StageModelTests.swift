import Models
import TensorCore
import Testing
import TinyModels

@Suite struct StageModelTests {
    /// Every model, cut behind each of its planner layers but the last.
    static let cuts = TinyModel.all.flatMap { model in
        (1..<(try! model.family().plannerLayers.count)).map { (model, $0) }
    }

    private func expectClose(_ found: [Float], _ expected: [Float], scale: Float, _ what: String) {
        #expect(found.count == expected.count)
        let worst = zip(found, expected).map { abs($0 - $1) }.reduce(0) { $1 <= $0 ? $0 : $1 }
        #expect(worst <= 1e-6 * max(1, scale), "\(what): \(worst)")
    }

    /// Sends a hidden state over a boundary: other memory, new leaves.
    private func received(_ sent: HiddenState) -> HiddenState {
        func arrive(_ tensor: Tensor, wantsGradient: Bool) -> Tensor {
            wantsGradient ? tensor.copy().asLeaf : tensor.copy()
        }
        return HiddenState(
            backbone: Lane(
                hidden: arrive(sent.backbone.hidden, wantsGradient: false),
                encoderOutput: sent.backbone.encoderOutput.map { arrive($0, wantsGradient: false) }),
            side: sent.side.map { side in
                Lane(
                    hidden: arrive(side.hidden, wantsGradient: true),
                    encoderOutput: side.encoderOutput.map { arrive($0, wantsGradient: true) })
            })
    }

    @Test("two stages have the loss and the gradients of one", arguments: cuts, [false, true])
    func twoStagesHaveTheLossAndTheGradientsOfOne(place: (TinyModel, Int), drops: Bool) throws {
        let (model, cut) = place
        let count = try model.family().plannerLayers.count
        let batch = try model.batch()
        let dropout =
            drops ? DropoutKeys(probability: 0.2, seed: 1, epoch: 2, sampleIDs: batch.sampleIDs) : nil
        let ledger = Ledger()
        let whole = try model.stage(ledger: ledger)
        let expectedLoss = whole.backwardLoss(
            whole.forward(nil, batch, dropout: dropout), batch, dropout: dropout)
        let expected = whole.gradients()
        let scale = expected.values.joined().reduce(0) { max($0, abs($1)) }
        #expect(expected.values.allSatisfy { $0.contains { $0 != 0 } }, "a parameter that nothing depends on")

        let (first, last) = (
            try model.stage(0..<cut, ledger: ledger), try model.stage(cut..<count, ledger: ledger)
        )
        let sent = first.forward(nil, batch, dropout: dropout)
        let state = received(sent)
        let loss = last.backwardLoss(
            last.forward(state, batch, dropout: dropout), batch, dropout: dropout)
        #expect(abs(loss - expectedLoss) < 1e-6)
        #expect(state.side!.hidden.node?.gradient != nil)
        // A stage of the head alone has no use for the encoder's result.
        let roots = ([(sent.side!.hidden, state.side!.hidden)] + sentMemory(sent, state)).filter {
            $0.1.node?.gradient != nil
        }
        backward(from: roots.map(\.0), seeds: roots.map { $0.1.node!.gradient! })

        var summed = first.gradients()
        for (name, gradient) in last.gradients() {
            // A position table lives on both stages; everything else on one.
            #expect(summed[name] == nil || name.contains("relative_attention_bias"))
            summed[name] = summed[name].map { zip($0, gradient).map { $0 + $1 } } ?? gradient
        }
        #expect(Set(summed.keys) == Set(expected.keys))
        for (name, gradient) in summed { expectClose(gradient, expected[name]!, scale: scale, name) }
    }

    private func sentMemory(_ sent: HiddenState, _ received: HiddenState) -> [(Tensor, Tensor)] {
        guard let from = sent.side!.encoderOutput, let to = received.side!.encoderOutput else { return [] }
        return [(from, to)]
    }

    @Test(
        "micro-batches add up to their mini-batch, whatever shares a mask", arguments: TinyModel.all,
        [0, 0.2])
    func microBatchesAddUpToTheirMiniBatchWhateverSharesAMask(
        model: TinyModel, probability: Double
    ) throws {
        func dropout(_ samples: [Int], epoch: Int = 1) -> DropoutKeys {
            DropoutKeys(probability: probability, seed: 3, epoch: epoch, sampleIDs: samples)
        }
        let ledger = Ledger()
        let whole = try model.stage(ledger: ledger)
        let batch = try model.batch()
        func pass(epoch: Int) -> Double {
            let keys = dropout(batch.sampleIDs, epoch: epoch)
            whole.parameters.zeroGradients()
            return whole.backwardLoss(whole.forward(nil, batch, dropout: keys), batch, dropout: keys)
        }
        #expect((pass(epoch: 2) == pass(epoch: 1)) == (probability == 0), "another epoch, other masks")
        let expected = whole.gradients()
        let scale = expected.values.joined().reduce(0) { max($0, abs($1)) }

        let parts = try model.stage(ledger: ledger)
        let weight = 1 / Float(batch.targets.termCount)
        for i in [2, 0, 1] {
            let part = batch.part(i)
            let logits = parts.logits(
                parts.forward(nil, part, dropout: dropout([i])), part, dropout: dropout([i]))
            let loss = parts.head!.loss(logits, part.targets, weight: weight)
            loss.backward()
        }
        for (name, gradient) in parts.gradients() {
            expectClose(gradient, expected[name]!, scale: scale, name)
        }
    }

    @Test("a side network drops at its ends, a backbone where its family does", arguments: TinyModel.all)
    func aSideNetworkDropsAtItsEndsABackboneWhereItsFamilyDoes(model: TinyModel) throws {
        let (ledger, batch, family) = (Ledger(), try model.batch(), try model.family())
        let side = try #require(try model.stage(ledger: ledger).side)
        let keys = DropoutKeys(probability: 0.5, seed: 1, epoch: 1, sampleIDs: batch.sampleIDs)
        func tensor(_ stack: StackKind, _ columns: Int) -> Tensor {
            let rows = batch.spans(stack).last!.upperBound
            return Tensor(
                (0..<rows * columns).map { Float($0 % 13) - 6 }, rows: rows, columns: columns, ledger: ledger)
        }
        func start(_ keys: DropoutKeys?) -> [Float] {
            let stack = family.stacks[0].kind
            return side.advance(
                nil, past: .embedding(stack), activation: tensor(stack, family.hiddenSize), batch,
                dropout: keys
            )!.hidden.values
        }
        #expect(start(keys) != start(nil))
        let width = try family.reduced(by: model.reductionFactor).hiddenSize
        let end = Lane(hidden: tensor(family.lastStack.kind, width))
        #expect(side.final(end, batch, dropout: keys).values != side.final(end, batch, dropout: nil).values)

        let first = LayerStep.embedding(family.stacks[0].kind)
        let backbone = try BackboneSlice(family, steps: [first], source: model.source(ledger))
        let (dropped, whole) = (
            backbone.advance(nil, first, batch, dropout: keys), backbone.advance(nil, first, batch)
        )
        let isLlama = ["llama", "qwen2"].contains(family.name)
        #expect((dropped.hidden.values != whole.hidden.values) == !isLlama)
    }

    @Test("a micro-batch without samples is legal everywhere", arguments: TinyModel.all)
    func aMicroBatchWithoutSamplesIsLegalEverywhere(model: TinyModel) throws {
        let ledger = Ledger()
        let batch = try model.batch(inputs: [], outputs: [])
        let stage = try model.stage(ledger: ledger)
        #expect(stage.backwardLoss(stage.forward(nil, batch), batch) == 0)
        #expect(stage.gradients().values.joined().allSatisfy { $0 == 0 })
    }

    @Test(
        "cached activations give the same logits and gradients, bit for bit", arguments: [Pooling.cls, .mean])
    func cachedActivationsGiveTheSameLogitsAndGradientsBitForBit(pooling: Pooling) throws {
        for model in TinyModel.all {
            // A classifier on T5's decoder as well: means of normed rows.
            let head =
                model.head == .languageModel && pooling == .mean ? HeadKind.classification(2) : model.head
            let ledger = Ledger()
            let stage = try model.stage(pooling: pooling, head: head, ledger: ledger)
            let batch = try model.batch()
            var layers: [StackKind: [Tensor]] = [:]
            let state = stage.forward(nil, batch) { layers[$0, default: []].append($2) }
            let fresh = stage.logits(state, batch)
            stage.releaseBackbone()
            let cached = stage.forward(batch) { stack, layer in
                layers[stack]![layer].interleaved(layer, of: layers[stack]!.count)
            }
            let logits = stage.logits(cached, batch)
            #expect(logits.values == fresh.values)
            let seed = Tensor(
                (0..<logits.count).map { Float($0 % 7) - 3 }, rows: logits.rows, columns: logits.columns,
                ledger: ledger)
            backward(from: [fresh], seeds: [seed])
            let expected = stage.gradients()
            stage.parameters.zeroGradients()
            backward(from: [logits], seeds: [seed])
            #expect(stage.gradients() == expected)
        }
    }

    @Test(
        "tokens one at a time through the caches have the logits of all at once",
        arguments: ["t5_v1_0", "t5_v1_1", "bart_cls"])
    func tokensOneAtATimeThroughTheCachesHaveTheLogitsOfAllAtOnce(name: String) throws {
        let ledger = Ledger()
        let model = TinyModel.named(name)
        let stage = try model.stage(head: .languageModel, ledger: ledger)
        let batch = try model.batch(outputs: [6, 6, 6], head: .languageModel)
        let expected = stage.logits(stage.forward(nil, batch), batch)
        let caches = StageCaches(capacity: 6)
        var state: HiddenState?
        for t in 0..<6 {
            let step = MicroBatch(
                sampleIDs: batch.sampleIDs, inputs: batch.inputSpans.map { Array(batch.input.ids[$0]) },
                types: batch.inputSpans.map { Array(batch.input.typeIDs[$0]) },
                decoderInputs: batch.decoderSpans.map { [batch.decoderInput.ids[$0.lowerBound + t]] },
                targets: .none, firstPositions: batch.decoderSpans.map { _ in t })
            var layersRun = 0
            state = stage.forward(state, step, caches: caches) { stack, _, _ in
                layersRun += stack == .encoder ? 1 : 0
            }
            #expect((layersRun > 0) == (t == 0), "the encoder runs once")
            let logits = stage.logits(state!, step)
            for (i, span) in batch.decoderSpans.enumerated() {
                let row = span.lowerBound + t
                expectClose(
                    logits.rows(i..<i + 1).values, expected.rows(row..<row + 1).values, scale: 5, "token \(t)"
                )
            }
        }
    }
}

@Suite struct DecoderOnlyTests {
    /// Within 2e-6 of the largest magnitude: other shapes of matrix products round differently.
    private func expectClose(_ found: [Float], _ expected: [Float], _ what: String) {
        #expect(found.count == expected.count)
        let worst = zip(found, expected).map { abs($0 - $1) }.reduce(0) { $1 <= $0 ? $0 : $1 }
        let scale = expected.reduce(0) { max($0, abs($1)) }
        #expect(worst <= 2e-6 * scale, "\(what): \(worst) of \(scale)")
    }

    @Test(
        "prompts of several lengths, then a token at a time, have the logits of all at once",
        arguments: ["llama", "qwen2"], [false, true])
    func promptsThroughTheCaches(name: String, passesState: Bool) throws {
        let ledger = Ledger()
        let model = TinyModel.named(name)
        let stage = try model.stage(ledger: ledger)
        let lengths = [9, 5, 7]
        let batch = try model.batch(inputs: lengths, outputs: lengths)
        let expected = stage.logits(stage.forward(nil, batch), batch)
        let sequences = batch.inputSpans.map { Array(batch.input.ids[$0]) }
        let caches = StageCaches(capacity: 9)
        // 3 tokens a sequence stay for later, so that prompts have 6, 2 and 4.
        var state: HiddenState?
        for t in 0...3 {
            let begins = lengths.map { t == 0 ? 0 : $0 - 4 + t }
            let tokens = zip(sequences, begins).map { t == 0 ? Array($0.dropLast(3)) : [$0[$1]] }
            let step = MicroBatch(
                sampleIDs: [0, 1, 2], inputs: tokens, types: tokens.map { $0.map { _ in 0 } },
                targets: .none, firstPositions: begins)
            state = stage.forward(passesState ? state : nil, step, caches: caches)
            let logits = stage.logits(state!, step)
            for (i, span) in step.inputSpans.enumerated() {
                let rows = (0..<span.count).map { batch.inputSpans[i].lowerBound + begins[i] + $0 }
                let wanted = expected.rows(rows[0]..<rows[rows.count - 1] + 1).values
                expectClose(logits.rows(span).values, wanted, "sequence \(i), step \(t)")
            }
        }
    }

    @Test("only rows with a target reach the head, each with the logits of its place")
    func onlyTargetRowsReachTheHead() throws {
        let ledger = Ledger()
        let model = TinyModel.named("llama")
        let stage = try model.stage(ledger: ledger)
        let (all, some) = (
            try model.batch(inputs: [5, 1, 9], outputs: [5, 1, 9]),
            try model.batch(inputs: [5, 1, 9], outputs: [2, 1, 3])
        )
        #expect(some.targetRows == [3, 4, 5, 12, 13, 14])
        let logits = stage.logits(stage.forward(nil, some), some)
        let every = stage.logits(stage.forward(nil, all), all)
        #expect(logits.rows == 6 && every.rows == 15)
        for (i, row) in some.targetRows.enumerated() {
            expectClose(logits.rows(i..<i + 1).values, every.rows(row..<row + 1).values, "row \(row)")
        }
    }

    @Test("a token's place counts from the start of its sequence, and shifting all of them changes nothing")
    func rotationsAreRelative() throws {
        let ledger = Ledger()
        let model = TinyModel.named("llama")
        let stage = try model.stage(ledger: ledger)
        let batch = try model.batch(inputs: [6], outputs: [6])
        let shifted = MicroBatch(
            sampleIDs: [0], inputs: [batch.input.ids], types: [batch.input.typeIDs], targets: .none,
            firstPositions: [40])
        #expect(shifted.input.positions == [40, 41, 42, 43, 44, 45])
        let (a, b) = (
            stage.logits(stage.forward(nil, batch), batch), stage.logits(stage.forward(nil, shifted), shifted)
        )
        expectClose(a.values, b.values, "shifted")
    }
}

@Suite struct BartClassificationTests {
    @Test("a classifier reads the decoder at the input's last end of sentence, not at its last token")
    func lastEndOfSentence() throws {
        let ledger = Ledger()
        let stage = try TinyModel.named("bart_cls").stage(ledger: ledger)
        // As tokenized pairs: an end of sentence after each text; then one with tokens behind the last.
        let inputs: [[Int32]] = [[0, 9, 2, 2, 8, 2], [0, 2, 7, 2, 30, 31]]
        let batch = MicroBatch(
            sampleIDs: [0, 1], inputs: inputs, types: inputs.map { $0.map { _ in 0 } },
            decoderInputs: inputs.map { [2] + $0.dropLast() }, targets: .none)
        guard case .rows(let rows) = stage.head!.selection(batch) else { return #expect(Bool(false)) }
        #expect(rows == [5, 6 + 3])
    }
}

extension Tensor {
    /// The same rows as one layer of a cache block that holds `count` layers of each token side by side.
    fileprivate func interleaved(_ layer: Int, of count: Int) -> Tensor {
        let storage = Storage(count: rows * columns * count, category: .cache, ledger: ledger)
        for i in 0..<storage.count { storage.pointer[i] = .nan }
        let view = Tensor(
            storage, offset: layer * columns, rows: rows, columns: columns, rowStride: columns * count)
        for row in 0..<rows {
            (view.pointer + row * view.rowStride).update(from: pointer + row * rowStride, count: columns)
        }
        return view
    }
}
