import MPI
import Models
import Planning
import Support
import TensorCore

/// Writes texts greedily through the stages of a plan: each stage keeps the keys and values of its own decoder blocks.
///
/// The encoder runs once; then one token a step passes through the decoder's stages, and every rank learns which tokens
/// the last stage chose. Token ids fit a float exactly, so they travel as predictions do.
struct Generator {
    private let session: Session
    private let plan: Plan
    private let placement: Placement?
    private let model: StageModel?
    private let exchange: BoundaryExchange?
    private let maximumLength: Int
    private let tokens: GenerationTokens

    /// - Parameters: `model` and `exchange` are this rank's stage, nil when the plan leaves it out; `maximumLength` bounds
    ///   a text in tokens.
    init(
        _ session: Session, plan: Plan, model: StageModel?, exchange: BoundaryExchange?, maximumLength: Int
    ) {
        self.session = session
        self.plan = plan
        placement = Placement(plan, rank: session.world.rank)
        self.model = model
        self.exchange = exchange
        // A table of learned positions has no row for a longer text.
        self.maximumLength = min(maximumLength, session.model.family.maximumPositions ?? maximumLength)
        tokens = session.model.family.generationTokens!
    }

    /// Texts for the samples of a mini-batch, on every rank. Collective over the world.
    func generate(_ samples: [Int], builder: BatchBuilder, into predictions: inout Predictions) throws {
        try session.ledger.withoutRecording {
            for microBatch in 0..<plan.microBatchCount {
                let start = min(microBatch * plan.microBatchSize, samples.count)
                let slots = start..<min(start + plan.microBatchSize, samples.count)
                guard !slots.isEmpty else { continue }
                let texts = try generate(microBatch, slots, samples, builder)
                // One rank speaks for all: they know the same.
                if session.world.rank == 0 {
                    for (slot, text) in zip(slots, texts) {
                        predictions.rows[samples[slot]] = text.map { Float($0) }
                    }
                }
            }
        }
    }

    private func generate(
        _ microBatch: Int, _ slots: Range<Int>, _ samples: [Int], _ builder: BatchBuilder
    ) throws -> [[Int32]] {
        let caches = StageCaches(capacity: maximumLength)
        let own = placement?.slots(microBatch: microBatch, sampleCount: samples.count) ?? 0..<0
        var first: HiddenState?
        var texts = [[Int32]](repeating: [], count: slots.count)
        for step in 0..<maximumLength {
            var chosen: [Int32] = []
            if let placement, let model, let exchange {
                let isBeginning = step == 0
                let batch =
                    isBeginning
                    ? builder.generationBatch(own.map { samples[$0] })
                    : MicroBatch(
                        sampleIDs: own.map { samples[$0] }, inputs: [], types: [],
                        decoderInputs: own.map { [texts[$0 - slots.lowerBound][step - 1]] }, targets: .none,
                        firstPositions: own.map { _ in step })
                let state = try advance(
                    batch, placement, model, exchange, microBatch, samples, builder, caches, isBeginning,
                    &first)
                if placement.isLastStage, let state, !own.isEmpty {
                    let last = RowSelection.rows(batch.decoderSpans.map { $0.upperBound - 1 })
                    chosen = argmax(model.logits(state, batch, selection: last))
                    if isBeginning, let forced = tokens.forcedFirst { chosen = chosen.map { _ in forced } }
                }
            }
            try append(chosen, microBatch, slots, samples, &texts)
            if texts.allSatisfy({ $0.contains(where: tokens.ends.contains) }) { break }
        }
        return texts.map { Array($0.prefix { !tokens.ends.contains($0) }) }
    }

    /// One pass through this rank's stage; nil when the stage has no part in it.
    private func advance(
        _ batch: MicroBatch, _ placement: Placement, _ model: StageModel, _ exchange: BoundaryExchange,
        _ microBatch: Int, _ samples: [Int], _ builder: BatchBuilder, _ caches: StageCaches,
        _ isBeginning: Bool,
        _ first: inout HiddenState?
    ) throws -> HiddenState? {
        // Stages of encoder blocks alone have no part in the tokens after the first.
        guard isBeginning || first?.backbone.encoderOutput != nil else { return nil }
        let receives = isBeginning ? !placement.isFirstStage : exchange.receivesDecoderStates
        let sends = isBeginning ? !placement.isLastStage : exchange.sendsDecoderStates
        try exchange.begin(
            samples: samples, tokenCount: { $1 == .decoder ? 1 : builder.tokenCount($0, .encoder) },
            forward: receives ? [microBatch] : [], backward: [], movesMemory: isBeginning)
        var input = receives ? try exchange.receiveForward(microBatch) : nil
        if !isBeginning, let memory = first {
            // The encoder's results stay where they first arrived; the blocks keep what they made of them.
            input = input ?? memory
            input!.backbone.encoderOutput = memory.backbone.encoderOutput
            input!.side?.encoderOutput = memory.side?.encoderOutput
        }
        guard !batch.sampleIDs.isEmpty else {
            try exchange.finish()
            return nil
        }
        let state = model.forward(input, batch, caches: caches)
        if isBeginning { first = state }
        if sends { try exchange.sendForward(microBatch, state, batch) }
        try exchange.finish()
        return state
    }

    /// Tells every rank what the last stage chose.
    private func append(
        _ chosen: [Int32], _ microBatch: Int, _ slots: Range<Int>, _ samples: [Int], _ texts: inout [[Int32]]
    ) throws {
        let all = try session.world.allGather(
            chosen.flatMap { withUnsafeBytes(of: $0.littleEndian, Array.init) })
        let last = plan.stages.count - 1
        for (position, rank) in plan.stages[last].ranks.enumerated() {
            let theirs = Placement.slots(
                plan, last, position, microBatch: microBatch, sampleCount: samples.count)
            for (index, slot) in theirs.enumerated() {
                texts[slot - slots.lowerBound].append(
                    all[rank].withUnsafeBytes { $0.loadUnaligned(fromByteOffset: index * 4, as: Int32.self) })
            }
        }
    }
}
