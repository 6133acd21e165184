import Models
import Plans
import Support
import TensorCore

/// One planner layer by itself, with weights of the true shapes: what a rank measures.
///
/// Forward is the backbone's layer and, where there is one, the side network's advance past it, as in epoch 1; backward
/// goes through what the technique differentiates. The head's forward includes the loss.
final class LayerProbe {
    /// What one pass took and held; its seconds are of processor time.
    struct Pass {
        var forwardSeconds: Double
        var backwardSeconds: Double
        /// Kept from forward to backward, without the layer's input and, unless backward needs it, its result.
        var savedBytes = 0
        /// The part of the input that backward needs, and keeps even if it has no other owner.
        var heldInputBytes = 0
        /// In use beyond that at the worst moment, the result included and the input not.
        var transientBytes: Int
    }

    private let family: any ModelFamily
    private let layer: PlannerLayer
    /// Whether anything before the layer is trained, so that its input gets a gradient.
    private let isBehindTrained: Bool
    private let model: StageModel
    private let source: TiledSource
    private let configuration: StageModel.Configuration
    private let dropout: Double
    private let seed: UInt64
    private let clock: () -> Double
    private let ledger = Ledger()
    /// Seconds that all passes took, by the wall's clock and by the one that times them.
    private(set) var wallSeconds = 0.0
    private(set) var processorSeconds = 0.0

    /// - Parameters:
    ///   - formats: how the model's frozen matrices are stored: measured are matrices that are stored so.
    ///   - dropout: the probability in the side network; 0 for none.
    ///   - isThreaded: whether more threads compute than the calling one, whose clock then says nothing.
    /// - Throws: when the side network cannot be built for the family.
    init(
        _ layer: PlannerLayer, _ family: any ModelFamily, _ configuration: StageModel.Configuration,
        _ formats: StoredFormats, dropout: Double, seed: UInt64, isThreaded: Bool
    ) throws {
        ledger.activity = "profiling of \(layer.name)"
        ledger.endJobWhenRefused()
        clock = isThreaded ? { MonotonicClock.seconds } : { ThreadClock.seconds }
        self.family = family
        self.layer = layer
        isBehindTrained = try Self.isBehindTrained(layer, family, configuration)
        self.dropout = dropout
        self.seed = seed
        self.configuration = configuration
        // Where the same table is the head's matrix, its product takes every row.
        source = try TiledSource(
            seed: seed, shortened: layer.steps.contains(.head) ? nil : family.tokenEmbeddingName,
            formats, ledger: ledger)
        model = try StageModel(
            family, configuration, steps: layer.steps, frozen: source, withBackbone: true, ledger: ledger)
        source.fill(model.parameters.values)
    }

    /// Whether a technique trains anything before a layer.
    static func isBehindTrained(
        _ layer: PlannerLayer, _ family: any ModelFamily, _ configuration: StageModel.Configuration
    ) throws -> Bool {
        let index = family.plannerLayers.firstIndex { $0.name == layer.name }!
        guard index > 0 else { return false }
        return try !BoundaryDescription(before: index, family, configuration).backward.isEmpty
    }

    /// Bytes in use at the worst moment of the last pass, weights included.
    var peakBytes: Int { ledger.peakTotalBytes }

    /// Runs the layer forward and backward on a micro-batch, several times.
    ///
    /// - Parameters:
    ///   - head: what the batch's targets are for.
    ///   - seconds: how long to repeat; at least `leastRepetitions` passes are made in any case.
    /// - Returns: median times and the memory of one pass. The pass that warms up counts only if it is so long that
    ///   warming up is a small part of it.
    func measure(_ samples: [SampleLengths.Sample], head: HeadKind, seconds: Double) throws -> Pass {
        let batch = batch(samples, head)
        let input = try inputState(batch)
        let kept = try keptBytes(batch)
        var result = run(batch, input)
        result.savedBytes = kept.saved
        result.heldInputBytes = kept.heldInput
        result.transientBytes -= kept.saved
        var passes = result.forwardSeconds + result.backwardSeconds > Self.longPassSeconds ? [result] : []
        let start = MonotonicClock.seconds
        repeat {
            passes.append(run(batch, input))
        } while passes.count < Self.leastRepetitions
            || (passes.count < Self.mostRepetitions && MonotonicClock.seconds - start < seconds)
        result.forwardSeconds = TimingStatistics.median(passes.map(\.forwardSeconds))
        result.backwardSeconds = TimingStatistics.median(passes.map(\.backwardSeconds))
        return result
    }

    private static let leastRepetitions = 3
    private static let mostRepetitions = 25
    private static let longPassSeconds = 0.2

    /// Bytes that stay between forward and backward when the layer's result has no other owner, and how many more when its
    /// input has none either.
    private func keptBytes(_ batch: MicroBatch) throws -> (saved: Int, heldInput: Int) {
        let before = liveBytes
        let (roots, saved) = try keptBesideInput(batch)
        let both = withExtendedLifetime(roots) { liveBytes - before }
        return (saved, both - saved)
    }

    /// What hangs on the roots of backward while the input is held as well: the roots, and the bytes without the input.
    private func keptBesideInput(_ batch: MicroBatch) throws -> (Roots, Int) {
        let before = liveBytes
        let input = try inputState(batch)
        let inputBytes = liveBytes - before
        let roots = roots(batch, isBehindTrained ? input.map(withLeaves) : input)
        return withExtendedLifetime((input, roots)) { (roots, liveBytes - before - inputBytes) }
    }

    /// Where backward would begin: what hangs on it is what it needs.
    private enum Roots {
        case loss(Loss)
        case nodes([Node])
    }

    private func roots(_ batch: MicroBatch, _ input: HiddenState?) -> Roots {
        let (state, loss) = forward(batch, input)
        return loss.map { .loss($0) }
            ?? .nodes(state.tensors(of: configuration.technique.gradientLane).compactMap(\.node))
    }

    private func forward(_ batch: MicroBatch, _ input: HiddenState?) -> (HiddenState, Loss?) {
        let keys =
            dropout > 0 || configuration.technique.ownDropout > 0
            ? DropoutKeys(probability: dropout, seed: seed, epoch: 1, sampleIDs: batch.sampleIDs) : nil
        let state = model.forward(input, batch, dropout: keys)
        let loss = model.head.map {
            $0.loss(
                model.logits(state, batch, dropout: keys), batch.targets,
                weight: 1 / Float(batch.targets.termCount))
        }
        return (state, loss)
    }

    private func run(_ batch: MicroBatch, _ input: HiddenState?) -> Pass {
        let input = isBehindTrained ? input.map(withLeaves) : input
        ledger.resetPeaks()
        let before = liveBytes
        let (wallStart, forwardStart) = (MonotonicClock.seconds, clock())
        let (state, loss) = forward(batch, input)
        let forwardSeconds = clock() - forwardStart
        let roots =
            loss == nil
            ? state.tensors(of: configuration.technique.gradientLane).filter { $0.node != nil } : []
        let seeds = roots.map { random($0.rows, $0.columns, .gradients) }
        let backwardStart = clock()
        if let loss { loss.backward() } else { TensorCore.backward(from: roots, seeds: seeds) }
        let end = clock()
        let backwardSeconds = end - backwardStart
        wallSeconds += MonotonicClock.seconds - wallStart
        processorSeconds += end - forwardStart
        let used = ledger.peakTotalBytes - before
        // The input and the result belong to a pass until its end, as they do in training.
        return withExtendedLifetime((input, state)) {
            Pass(
                forwardSeconds: forwardSeconds, backwardSeconds: backwardSeconds, transientBytes: used)
        }
    }

    private var liveBytes: Int { ledger.liveBytes.reduce(0, +) }

    // MARK: What goes in

    /// The state before the layer, outside the tape; nil before the first.
    private func inputState(_ batch: MicroBatch) throws -> HiddenState? {
        let index = family.plannerLayers.firstIndex { $0.name == layer.name }!
        guard index > 0 else { return nil }
        let parts = try BoundaryDescription(before: index, family, configuration).forward
        return HiddenState(
            parts, parts.map { random(batch.spans($0.stack).last!.upperBound, $0.columns, .activations) })
    }

    /// The same state with the tensors that want gradients on the tape anew: a leaf keeps its gradient.
    private func withLeaves(_ state: HiddenState) -> HiddenState {
        func leaves(_ lane: Lane) -> Lane {
            Lane(hidden: lane.hidden.asLeaf, encoderOutput: lane.encoderOutput?.asLeaf)
        }
        return configuration.technique.gradientLane == .backbone
            ? HiddenState(backbone: leaves(state.backbone), side: state.side)
            : HiddenState(backbone: state.backbone, side: state.side.map(leaves))
    }

    private func random(_ rows: Int, _ columns: Int, _ category: MemoryCategory) -> Tensor {
        let tensor = Tensor(rows: rows, columns: columns, category: category, ledger: ledger)
        source.fill(tensor)
        return tensor
    }

    /// A micro-batch of random tokens.
    private func batch(_ samples: [SampleLengths.Sample], _ head: HeadKind) -> MicroBatch {
        let random = CounterRandom(seed: seed, name: "tokens")
        var drawn: UInt64 = 0
        func draw(_ count: Int, below limit: Int) -> [Int32] {
            (0..<count).map { _ in
                drawn += 1
                return Int32(random.bits(at: drawn) % UInt64(limit))
            }
        }
        let known = min(family.vocabularySize, TiledSource.shortenedRowCount)
        var inputs = samples.map { draw($0.source, below: known) }
        if layer.steps.contains(.head), case .lastOccurrence(let id) = family.head.classifier.token {
            for i in inputs.indices { inputs[i][inputs[i].count - 1] = id }
        }
        let hasDecoderInput = family.stacks.count > 1
        let decoderInputs = hasDecoderInput ? samples.map { draw($0.target, below: known) } : []
        // A decoder-only language model predicts from the last rows of each sample.
        var targetRows: [Int]?
        if head == .languageModel, !hasDecoderInput {
            var end = 0
            targetRows = samples.flatMap { sample in
                end += sample.source
                return end - min(sample.target, sample.source)..<end
            }
        }
        let targets: Targets =
            switch head {
            case .languageModel:
                .tokens(
                    draw(targetRows?.count ?? decoderInputs.reduce(0) { $0 + $1.count }, below: known))
            case .classification(let count): .classes(draw(samples.count, below: count))
            case .regression: .scores([Float](repeating: 0.5, count: samples.count))
            }
        return MicroBatch(
            sampleIDs: Array(samples.indices), inputs: inputs,
            // The two halves of a pair, for read-outs that compare them.
            types: inputs.map { input in
                let border = configuration.pooling == .pair ? input.count / 2 : input.count
                return input.indices.map { $0 < border ? 0 : 1 }
            },
            decoderInputs: decoderInputs, targets: targets, targetRows: targetRows)
    }
}
