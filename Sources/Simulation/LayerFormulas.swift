import Plans

/// What each layer costs, from the sizes.
struct LayerFormulas {
    let shape: ModelShape
    let tuning: TuningShape
    let tokens: TokenCounts
    let hasDropout: Bool
    let headHoldsTable: Bool

    private var d: Double { Double(shape.hiddenSize) }
    private var side: ModelShape? {
        if case .parallelAdapters(let side) = tuning { side } else { nil }
    }
    /// r: the width of the side network.
    private var narrow: Double { Double(side?.hiddenSize ?? 0) }
    private let bytes = AnalyticConstants.floatBytes

    var layers: [AnalyticModel.Layer] {
        var result = [embedding]
        for (stackIndex, stack) in shape.stacks.enumerated() {
            for index in 0..<stack.layerCount {
                result.append(
                    block(
                        stack, named: "\(stack.kind == .encoder ? "encoder" : "decoder") \(index)", stackIndex
                    ))
            }
        }
        return result + [head]
    }

    private func rows(_ stackIndex: Int) -> Double { stackIndex == 0 ? tokens.source : tokens.target }

    /// What crosses behind a layer of a stack: its own hidden states and, from a decoder, the encoder's as
    /// well; those of the side network beside them. Gradients come back along the lane that is trained.
    private func setBoundary(_ layer: inout AnalyticModel.Layer, stackIndex: Int, isTrainedBefore: Bool) {
        let forward = bytes * (d + narrow)
        let backward = !isTrainedBefore ? 0 : bytes * (side == nil ? d : narrow)
        layer.forwardBytes = TokenCounts(source: forward, target: stackIndex > 0 ? forward : 0)
        layer.backwardBytes = TokenCounts(source: backward, target: stackIndex > 0 ? backward : 0)
    }

    private var embedding: AnalyticModel.Layer {
        var layer = AnalyticModel.Layer(name: "embedding", kind: .embedding)
        let tables = Double(shape.embeddingParameters)
        layer.parameterBytes = bytes * tables
        if tuning == .full { layer.trainableBytes = layer.parameterBytes }
        if side != nil { addDownProjection(&layer, rows: tokens.source) }
        setBoundary(&layer, stackIndex: 0, isTrainedBefore: tuning == .full || side != nil)
        return layer
    }

    /// The trained projection of the backbone's hidden state to the side network's width.
    private func addDownProjection(_ layer: inout AnalyticModel.Layer, rows: Double) {
        let operations = 2 * rows * d * narrow
        layer.sideForward += operations
        // The frozen backbone wants no gradient.
        layer.sideBackward += AnalyticConstants.matrixGradient * operations
        layer.trainableBytes += bytes * d * narrow
        layer.parameterBytes += bytes * d * narrow
        layer.savedBytes += bytes * rows * d
        layer.cachedBytes = bytes * rows * d
    }

    private func block(_ stack: ModelShape.Stack, named name: String, _ stackIndex: Int)
        -> AnalyticModel.Layer
    {
        var layer = AnalyticModel.Layer(
            name: name, kind: stack.kind == .encoder ? .encoderBlock : .decoderBlock)
        let (n, m) = (rows(stackIndex), shape.crosses(stack) ? tokens.source : 0)
        let saved = SavedBytes(shape: shape, stack: stack, hasDropout: hasDropout)
        let operations = shape.forwardOperations(of: stack, rows: n, crossRows: m)
        let both = AnalyticConstants.inputGradient + AnalyticConstants.matrixGradient
        layer.forward = operations
        layer.backward = AnalyticConstants.inputGradient * operations
        layer.parameterBytes = bytes * Double(shape.parameters(of: stack))
        layer.savedBytes = saved.block(rows: n, crossRows: m, isTrained: tuning == .full)
        /// Small matrices inside the backbone: they and their inputs want gradients.
        func add(_ extra: Double, parameters: Double, saved: Double) {
            layer.forward += extra
            layer.backward += both * extra
            layer.trainableBytes = bytes * parameters
            layer.parameterBytes += bytes * parameters
            layer.savedBytes += saved
        }
        switch tuning {
        case .full:
            layer.backward = both * operations
            layer.trainableBytes = layer.parameterBytes
        case .adapters(let width):
            let w = Double(width)
            add(
                2 * n * 2 * (2 * d * w), parameters: 2 * (2 * d * w + w + d),
                saved: saved.adapters(width: width, rows: n))
        case .lowRank(let rank, let ownDropout):
            let pair = 2 * d * Double(rank)
            add(
                2 * (2 * n + (m > 0 ? n + m : 0)) * pair, parameters: (m > 0 ? 4 : 2) * pair,
                saved: saved.lowRank(rank: rank, hasDropout: ownDropout, rows: n, crossRows: m))
        case .parallelAdapters(let side):
            let sideStack = side.stacks[stackIndex]
            let sideOperations = side.forwardOperations(of: sideStack, rows: n, crossRows: m)
            layer.backward = 0
            layer.sideForward = sideOperations
            layer.sideBackward = both * sideOperations
            layer.trainableBytes = bytes * Double(side.parameters(of: sideStack))
            layer.parameterBytes += layer.trainableBytes
            layer.savedBytes = SavedBytes(shape: side, stack: sideStack, hasDropout: hasDropout).block(
                rows: n, crossRows: m, isTrained: true)
            addDownProjection(&layer, rows: n)
        }
        setBoundary(&layer, stackIndex: stackIndex, isTrainedBefore: true)
        return layer
    }

    /// The language model's matrix over every target token, or a classifier over one.
    private var head: AnalyticModel.Layer {
        var layer = AnalyticModel.Layer(name: "head", kind: .head)
        let isGenerative = shape.hasLanguageModelHead
        let n = !isGenerative ? 1 : rows(shape.stacks.count - 1)
        let parameters = Double(shape.headParameters)
        let outputs = isGenerative ? Double(shape.vocabularySize) : d
        let isTrained = tuning == .full || !isGenerative
        layer.forward = 2 * n * parameters
        layer.backward =
            (AnalyticConstants.inputGradient + (isTrained ? AnalyticConstants.matrixGradient : 0))
            * layer.forward
        layer.parameterBytes = headHoldsTable ? bytes * parameters : 0
        if isTrained { layer.trainableBytes = layer.parameterBytes }
        // Logits and their logarithms, and what the matrix reads, before and behind the norm.
        layer.savedBytes = n * (2 * bytes * outputs + 2 * bytes * d)
        if side != nil {
            let operations = 2 * n * d * narrow
            layer.sideForward = operations
            layer.sideBackward = 2 * operations
            layer.trainableBytes += bytes * d * narrow
            layer.parameterBytes += bytes * d * narrow
            layer.savedBytes += bytes * n * narrow
        }
        return layer
    }
}
