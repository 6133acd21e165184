import MPI
import Models
import Plans
import Support
import TensorCore

/// Writes texts through the stages of a plan: each stage keeps the keys and values of its own decoder blocks.
///
/// The first pass takes what there is to read: an encoder's input, or a prompt. Then one token a step passes through the
/// decoder's stages, and every rank learns which tokens the last stage chose. Token ids fit a float exactly, so they travel
/// as predictions do.
struct Generator {
    private let session: Session
    private let plan: Plan
    private let placement: Placement?
    private let model: StageModel?
    private let exchange: BoundaryExchange?
    private let decoding: Decoding
    private let maximumLength: Int
    private let tokens: GenerationTokens
    /// Sees on rank 0 every token as it is written: the sample and all of its tokens so far.
    private let onToken: ((Int, [Int32]) -> Void)?

    /// - Parameters: `model` and `exchange` are this rank's stage, nil when the plan leaves it out; `maximumLength` bounds
    ///   a text in tokens where `decoding` does not.
    init(
        _ session: Session, plan: Plan, model: StageModel?, exchange: BoundaryExchange?,
        decoding: Decoding = .greedy, maximumLength: Int, onToken: ((Int, [Int32]) -> Void)? = nil
    ) {
        self.session = session
        self.plan = plan
        placement = Placement(plan, rank: session.world.rank)
        self.model = model
        self.exchange = exchange
        self.decoding = decoding
        self.maximumLength = decoding.maximumTokens ?? maximumLength
        tokens = session.model.family.generationTokens!
        self.onToken = onToken
    }

    /// Whether a decoder continues its input, without an encoder.
    private var continues: Bool { tokens.start == nil }

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
        let prompts = samples[slots].map { continues ? builder.inputCount($0) : 0 }
        // A table of learned positions has no row for a longer text, and others were trained for none.
        let limit = session.model.family.maximumPositions ?? Int.max
        let length = max(1, min(maximumLength, limit - prompts.max()!))
        let caches = StageCaches(capacity: length + prompts.max()!)
        let own = placement?.slots(microBatch: microBatch, sampleCount: samples.count) ?? 0..<0
        let ownSamples = own.map { samples[$0] }
        var first: HiddenState?
        var texts = [[Int32]](repeating: [], count: slots.count)
        for step in 0..<length {
            var chosen: [Int32] = []
            if let placement, let model, let exchange {
                let batch =
                    step == 0
                    ? builder.generationBatch(ownSamples)
                    : nextBatch(
                        ownSamples, own.map { texts[$0 - slots.lowerBound][step - 1] },
                        positions: own.map { prompts[$0 - slots.lowerBound] + step - (continues ? 1 : 0) })
                let state = try advance(
                    batch, placement, model, exchange, microBatch, samples, builder, caches,
                    isBeginning: step == 0, &first)
                if placement.isLastStage, let state, !own.isEmpty {
                    let last = batch.spans(.decoder).map { $0.upperBound - 1 }
                    chosen = decoding.next(
                        model.logits(state, batch, selection: .rows(last)), samples: ownSamples,
                        position: step)
                    if step == 0, let forced = tokens.forcedFirst { chosen = chosen.map { _ in forced } }
                }
            }
            try append(chosen, microBatch, slots, samples, &texts)
            if session.world.rank == 0, let onToken {
                for (slot, text) in zip(slots, texts) { onToken(samples[slot], ended(text)) }
            }
            if texts.allSatisfy({ $0.contains(where: tokens.ends.contains) }) { break }
        }
        return texts.map(ended)
    }

    /// A text without the token that ends it, and what came after.
    private func ended(_ text: [Int32]) -> [Int32] { Array(text.prefix { !tokens.ends.contains($0) }) }

    /// One more token of each sample.
    private func nextBatch(_ samples: [Int], _ next: [Int32], positions: [Int]) -> MicroBatch {
        let sequences = next.map { [$0] }
        return continues
            ? MicroBatch(
                sampleIDs: samples, inputs: sequences, types: next.map { _ in [0] }, targets: .none,
                firstPositions: positions)
            : MicroBatch(
                sampleIDs: samples, inputs: [], types: [], decoderInputs: sequences, targets: .none,
                firstPositions: positions)
    }

    /// One pass through this rank's stage; nil when the stage has no part in it.
    private func advance(
        _ batch: MicroBatch, _ placement: Placement, _ model: StageModel, _ exchange: BoundaryExchange,
        _ microBatch: Int, _ samples: [Int], _ builder: BatchBuilder, _ caches: StageCaches,
        isBeginning: Bool, _ first: inout HiddenState?
    ) throws -> HiddenState? {
        // Behind an encoder, stages of its blocks alone have no part in the tokens after the first.
        let isWhole = isBeginning || continues
        guard isWhole || first?.backbone.encoderOutput != nil else { return nil }
        let receives = isWhole ? !placement.isFirstStage : exchange.receivesDecoderStates
        let sends = isWhole ? !placement.isLastStage : exchange.sendsDecoderStates
        try exchange.begin(
            MicroBatchSequence([samples], placement),
            tokenCount: { sample, stack in
                if stack == .encoder { return builder.inputCount(sample) }
                return isBeginning && continues ? builder.inputCount(sample) : 1
            }, forward: receives ? [microBatch] : [], backward: [],
            payload: isBeginning ? .all : .withoutMemory)
        var input = receives ? try exchange.receiveForward(microBatch) : nil
        if !isWhole, let memory = first {
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
        if isBeginning, !continues { first = state }
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
