import Support

/// The constants of the analytic model that are not sizes of a model or rates of a device.
public enum AnalyticConstants {
    /// Bytes of a float32.
    static let floatBytes = 4.0
    /// Operations of a matrix product's backward in multiples of its forward: one product for the gradient of the input,
    /// one for the gradient of the matrix where it is trained.
    static let inputGradient = 1.0
    static let matrixGradient = 1.0
    /// How often an optimizer's step reads or writes as many bytes as there are trainable ones: SGD the parameter twice and
    /// the gradient once, Adam two moments twice beside.
    static let sgdTransfers = 3.0
    static let adamTransfers = 7.0
    /// Tokens that a decoder reads of a label, from the totals of the paper's Table 1.
    public static let targetTokens = 10
    /// Bytes of Adam's state in multiples of the trainable bytes.
    static let adamStateMultiple = 2
}

/// Times, bytes and messages of a model's layers by formula, where nothing was measured: for the paper's cluster, or one that
/// is not there.
///
/// A layer's time is its floating-point operations over the rate of its device, those of a side network over the share of
/// it that narrow matrices reach, and a launch overhead for each pass: the backbone forward, the side network forward, and
/// backward. Times are linear in samples. The layers are the planner's: embedding, blocks, head.
public struct AnalyticModel: Sendable {
    public let shape: ModelShape
    public let tuning: TuningShape
    /// Whether the model's own dropout is on while it trains.
    public let hasDropout: Bool
    /// Of each sample: rows of the first stack, and of a decoder behind an encoder.
    public let tokens: TokenCounts
    /// Whether a stage that has the head without the embedding is counted a copy of the table that both use.
    public let copiesTable: Bool
    /// The planner's layers in order.
    public let layers: [Layer]

    /// One planner layer, for one sample.
    public struct Layer: Sendable, Equatable {
        public var name: String
        public var kind: LayerProfile.Kind
        /// Operations of the backbone forward and backward, and of the side network beside it.
        public var forward = 0.0
        public var backward = 0.0
        public var sideForward = 0.0
        public var sideBackward = 0.0
        public var parameterBytes = 0.0
        public var trainableBytes = 0.0
        public var savedBytes = 0.0
        /// Of one token, to the stage after it and back.
        public var forwardBytes = TokenCounts(source: 0)
        public var backwardBytes = TokenCounts(source: 0)
        /// What a cache of Parallel Adapters keeps.
        public var cachedBytes = 0.0
    }

    /// - Parameter tokens: of every sample; models of one stack have source tokens only.
    public init(
        shape: ModelShape, tuning: TuningShape, tokens: TokenCounts, hasDropout: Bool,
        copiesTable: Bool = true
    ) {
        self.shape = shape
        self.tuning = tuning
        self.tokens = tokens
        self.hasDropout = hasDropout
        self.copiesTable = copiesTable
        layers =
            LayerFormulas(
                shape: shape, tuning: tuning, tokens: tokens, hasDropout: hasDropout,
                headHoldsTable: copiesTable || !shape.isHeadTied
            ).layers
    }

    /// The table that a stage of the whole model holds once although both its ends use it, in bytes.
    public var tiedBytes: Int {
        shape.isHeadTied && copiesTable ? Int(AnalyticConstants.floatBytes) * shape.headParameters : 0
    }

    /// Backbone passes forward plus side passes plus the backward: how often a layer is launched forward, and backward.
    private var forwardLaunches: Double {
        if case .parallelAdapters = tuning { 2 } else { 1 }
    }

    /// The profile that these layers would have on a cluster.
    ///
    /// - Parameter unitsPerSample: above 1, the profile's "samples" are equal parts of real ones, so that plans may share out
    ///   parts of samples, as eq. (3) does where B/n is no whole number.
    public func profile(on cluster: Cluster, unitsPerSample: Int = 1) throws -> Profile {
        let unit = 1 / Double(unitsPerSample)
        // Two sizes, far apart: times are linear between them and beyond.
        let sizes = [1, 1 << 16]
        let devices = cluster.devices.enumerated().map { rank, device in
            DeviceProfile(
                rank: rank, host: device.name, coreCount: 1, memoryBytes: device.memoryBudgetBytes ?? 1 << 40,
                memoryBudgetBytes: device.memoryBudgetBytes, blasCore: "analytic", microBatchSizes: sizes,
                layers: layers.map { layer in
                    func times(_ operations: Double, _ side: Double, launches: Double) -> [Double] {
                        let seconds = (operations + side / device.sideEfficiency) / device.flops * unit
                        return sizes.map { launches * device.launchOverheadSeconds + Double($0) * seconds }
                    }
                    return LayerTimes(
                        forwardSeconds: times(layer.forward, layer.sideForward, launches: forwardLaunches),
                        backwardSeconds: times(layer.backward, layer.sideBackward, launches: 1))
                })
        }
        let profiles = layers.map { layer in
            LayerProfile(
                name: layer.name, kind: layer.kind, parameterBytes: Int(layer.parameterBytes),
                trainableBytes: Int(layer.trainableBytes), forwardBytesPerToken: layer.forwardBytes,
                backwardBytesPerToken: layer.backwardBytes, savedBytesPerSample: layer.savedBytes * unit,
                transientBytesPerSample: 0)
        }
        let count = devices.count
        var links: [LinkProfile] = []
        links.reserveCapacity(count * (count - 1) / 2)
        for a in 0..<count {
            for b in stride(from: a + 1, to: count, by: 1) {
                let link = cluster.link(a, b)
                links.append(
                    LinkProfile(ranks: (a, b), bandwidth: link.bandwidth, latencySeconds: link.latencySeconds)
                )
            }
        }
        return try Profile(
            devices: devices, layers: profiles, links: links,
            meanTokens: TokenCounts(source: tokens.source * unit, target: tokens.target * unit))
    }
}

/// What each layer costs, from the sizes.
private struct LayerFormulas {
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

    /// What crosses behind a layer of a stack: its own hidden states and, from a decoder, the encoder's as well; those of the
    /// side network beside them. Gradients come back along the lane that is trained.
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
