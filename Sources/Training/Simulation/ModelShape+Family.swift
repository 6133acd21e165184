import Models
import Simulation
import Support
import TextData

extension ModelShape {
    /// The shape of a family, for the analytic model.
    ///
    /// The head of a model with a decoder is the language model's matrix, that of an encoder a classifier.
    public init(_ family: any ModelFamily) throws {
        let generates = family.lastStack.kind == .decoder
        let configuration = StageModel.Configuration(
            technique: ParallelAdapters(), head: generates ? .languageModel : .regression, pooling: .cls)
        var tables: [String: Int] = [:]
        for stack in family.stacks {
            let inventory = try StageModel.inventory(
                family, configuration, steps: [.embedding(stack.kind)])
            for declaration in inventory.frozen { tables[declaration.name] = declaration.count }
        }
        let first = family.block(family.stacks[0].kind, 0)
        let attention = first.attentions[0]
        self.init(
            hiddenSize: family.hiddenSize, vocabularySize: family.vocabularySize,
            embeddingParameters: tables.values.reduce(0, +),
            isHeadTied: generates && family.head.languageModel?.weight == family.tokenEmbeddingName,
            hasLanguageModelHead: generates,
            stacks: family.stacks.map { stack in
                let block = family.block(stack.kind, 0)
                return Stack(
                    kind: stack.kind == .encoder ? .encoder : .decoder, layerCount: stack.blockCount,
                    headCount: block.attentions[0].headCount,
                    keyValueHeadCount: block.attentions[0].keyValueHeadCount,
                    headSize: block.attentions[0].headSize, feedForwardWidth: block.feedForward.width)
            },
            arithmetic: Arithmetic(
                isPreNorm: first.isPreNorm, hasBias: attention.hasOutputBias,
                isGated: first.feedForward.inputs.count > 1,
                keepsResult: first.feedForward.activation == .relu,
                dropsProbabilities: attention.dropoutPlaces.contains(.probabilities),
                dropsActivations: first.feedForward.dropoutPlaces.contains(.activations)))
    }
}

extension TuningShape {
    /// The technique of an experiment, for the analytic model.
    ///
    /// - Throws: a configuration failure for settings that the model has no formulas for.
    init(_ technique: any TuningTechnique, _ family: any ModelFamily) throws {
        try technique.check(family)
        switch technique {
        case let technique as ParallelAdapters:
            guard technique.adapter == .transformer else {
                throw Failure.configuration(
                    "technique.adapter: expected \"transformer\", as a simulation has no formulas for others, found "
                        + "\"\(technique.adapter.rawValue)\"")
            }
            self = .parallelAdapters(side: try ModelShape(family.reduced(by: technique.reductionFactor)))
        case let technique as LowRankAdaptation:
            guard technique.targets == nil else {
                throw Failure.configuration(
                    "technique.targets: expected null, query and value, as a simulation has no formulas for others"
                )
            }
            self = .lowRank(rank: technique.rank, hasDropout: technique.dropout > 0)
        case let technique as BottleneckAdapters:
            self = .adapters(width: max(1, family.hiddenSize / technique.reductionFactor))
        default: self = .full
        }
    }
}
