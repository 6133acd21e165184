import Models
import Support
import TextData

extension ModelShape {
    /// The shape of a family, for the analytic model.
    ///
    /// The head of a model with a decoder is the language model's matrix, that of an encoder a classifier.
    package init(_ family: any ModelFamily) throws {
        let generates = family.lastStack.kind == .decoder
        var tables: [String: Int] = [:]
        for stack in family.stacks {
            let declaring = DeclaringSource()
            _ = try BackboneSlice(family, steps: [.embedding(stack.kind)], source: declaring)
            for declaration in declaring.declarations { tables[declaration.name] = declaration.count }
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
        self =
            switch try technique.trainedParts(of: family) {
            case .all: .full
            case .bottlenecks(let width): .adapters(width: width)
            case .lowRank(let rank, let hasDropout): .lowRank(rank: rank, hasDropout: hasDropout)
            case .sideNetwork(let reduced): .parallelAdapters(side: try ModelShape(reduced))
            }
    }
}
