import Families
import Models
import TensorCore
import Testing
import TinyModels
import WeightFiles

/// What a backbone's block keeps for backward under each technique: the formulas of ARCHITECTURE.md.
@Suite struct SavedBytesTests {
    /// Rows of the block and of the encoder's result.
    private static let (n, m) = (15, 8)
    private static let rank = 3
    private static let reduction = 8

    enum Technique: String, CaseIterable, Sendable { case full, lora, adapters }

    private func technique(_ kind: Technique) -> any TuningTechnique {
        switch kind {
        case .full: FullTuning()
        case .lora: LowRankAdaptation(rank: Self.rank)
        case .adapters: BottleneckAdapters(reductionFactor: Self.reduction)
        }
    }

    /// Floats that a block keeps, its input and the encoder's result among them where they are needed.
    private func formula(_ block: BlockDescription, _ kind: Technique) -> Int {
        let (n, m, d) = (Self.n, Self.m, block.hiddenSize)
        let bottleneck = kind == .adapters ? n * d + 2 * n * (d / Self.reduction) : 0
        // A layer norm keeps the sum that it normalises, its mean and deviation; an RMS norm its input and deviation.
        let norm = n * d + (block.isPreNorm ? n : 2 * n)
        var floats = 0
        for attention in block.attentions {
            let (q, kv) = (
                attention.headCount * attention.headSize, attention.keyValueHeadCount * attention.headSize
            )
            let isCross = attention.kind == .crossAttention
            let keyRows = isCross ? m : n
            floats += norm + n * q + 2 * keyRows * kv
            switch kind {
            case .full: floats += n * d + n * q + (isCross ? m * d : 0)
            case .lora: floats += n * d + (isCross ? m * d : 0) + (n + keyRows) * Self.rank
            case .adapters: floats += isCross ? 0 : bottleneck
            }
        }
        let feedForward = block.feedForward
        let inner = n * feedForward.width
        floats += norm + bottleneck
        // A gate keeps both of its sides, another function one tensor; ReLU's is what the output matrix keeps as well.
        let isGated = feedForward.inputs.count == 2
        floats += isGated ? 2 * inner : inner
        if kind == .full { floats += n * d + (isGated || feedForward.activation != .relu ? inner : 0) }
        return floats
    }

    /// Runs a block on leaves and counts what its result keeps.
    private func savedFloats(
        _ family: any ModelFamily, _ stack: StackKind, _ technique: any TuningTechnique,
        frozen: any ParameterSource, _ ledger: Ledger
    ) throws -> Int {
        let block = family.block(stack, 0)
        let declaring = DeclaringSource()
        _ = try TransformerBlock(
            block, technique.source(frozen: DeclaringSource(), trainable: declaring, family))
        let bucket = ParameterBucket(declaring.declarations, ledger: ledger)
        let source = technique.source(frozen: frozen, trainable: BucketSource(bucket), family)
        let layer = try TransformerBlock(block, source)
        func leaf(_ rows: Int) -> Tensor {
            Tensor(
                (0..<rows * block.hiddenSize).map { Float($0 % 7) - 3 }, rows: rows,
                columns: block.hiddenSize,
                ledger: ledger
            ).asLeaf
        }
        let context = BlockContext(
            spans: [0..<5, 5..<6, 6..<Self.n], encoderOutput: stack == .decoder ? leaf(Self.m) : nil,
            encoderSpans: [0..<2, 2..<3, 3..<Self.m])
        return layer(leaf(Self.n), context).node!.savedBytes() / 4
    }

    @Test("a block keeps what the formula says", arguments: TinyModel.all, Technique.allCases)
    func aBlockKeepsWhatTheFormulaSays(model: TinyModel, kind: Technique) throws {
        let family = try model.family()
        for stack in family.stacks {
            let ledger = Ledger()
            let found = try savedFloats(
                family, stack.kind, technique(kind), frozen: model.source(ledger), ledger)
            #expect(found == formula(family.block(stack.kind, 0), kind), "\(stack.kind)")
        }
    }

    @Test("on T5-Base's shapes Parallel Adapters keep at most half of what LoRA keeps")
    func onT5BasesShapesParallelAdaptersKeepAtMostHalfOfWhatLoRAKeeps() throws {
        let family = try readModelFamily(Checkpoint.readConfiguration(Self.t5Base))
        let batch = MicroBatch(
            sampleIDs: [0, 1], inputs: [[Int32](repeating: 5, count: 40), [Int32](repeating: 7, count: 20)],
            types: [[Int32](repeating: 0, count: 40), [Int32](repeating: 0, count: 20)],
            decoderInputs: [[0, 3, 4], [0, 9]], targets: .tokens([3, 4, 1, 9, 1]))
        func saved(_ technique: any TuningTechnique) throws -> Int {
            let ledger = Ledger()
            let model = try StageModel(
                family, .init(technique: technique, head: .languageModel, pooling: .cls),
                steps: family.steps(of: 0..<family.plannerLayers.count),
                frozen: RandomSource(seed: 1, ledger: ledger), withBackbone: true, ledger: ledger)
            return model.logits(model.forward(nil, batch), batch).node!.savedBytes()
        }
        let (side, lora) = (try saved(ParallelAdapters()), try saved(LowRankAdaptation(rank: 32, alpha: 32)))
        print("saved on T5-Base's shapes: Parallel Adapters \(side), LoRA \(lora) bytes")
        #expect(2 * side <= lora)
    }

    /// T5-Base's configuration with two blocks a stack in place of twelve and a small vocabulary.
    private static let t5Base = TinyModel.references + "/t5_base_shapes"
}
