import TensorCore

/// What a block needs besides its input.
package struct BlockContext {
    /// The rows of each sequence.
    package var spans: [Range<Int>]
    /// The encoder's result and its rows, for cross-attention.
    package var encoderOutput: Tensor?
    package var encoderSpans: [Range<Int>]
    package var positionBias: PositionBias?
    /// The angles of a stack with rotary positions, and the position of every row.
    package var rotary: (table: RotaryTable, positions: [Int32])?
    /// nil in inference, and always in a backbone under Parallel Adapters.
    package var dropout: DropoutKeys?
    /// Keys and values of the tokens before, in generation.
    package var cache: BlockCache?

    package init(
        spans: [Range<Int>], encoderOutput: Tensor? = nil, encoderSpans: [Range<Int>] = [],
        positionBias: PositionBias? = nil, rotary: (table: RotaryTable, positions: [Int32])? = nil,
        dropout: DropoutKeys? = nil, cache: BlockCache? = nil
    ) {
        self.spans = spans
        self.encoderOutput = encoderOutput
        self.encoderSpans = encoderSpans
        self.positionBias = positionBias
        self.rotary = rotary
        self.dropout = dropout
        self.cache = cache
    }

    /// The dropout at a place; nil where the family does not drop.
    package func dropout(at place: DropoutPlaces, of places: DropoutPlaces) -> DropoutKeys? {
        places.contains(place) ? dropout : nil
    }
}

/// One transformer block of any family, backbone or side: attention sub-layers, then the feed-forward.
///
/// Pre-norm: x + f(N(x)) for each sub-layer; post-norm: N(x + f(x)).
package struct TransformerBlock {
    private let description: BlockDescription
    private let attentions: [AttentionLayer]
    private let feedForward: FeedForwardLayer

    package init(_ description: BlockDescription, _ source: any ParameterSource) throws {
        self.description = description
        attentions = try description.attentions.map {
            try AttentionLayer(
                $0, hiddenSize: description.hiddenSize, site: description.attentionSite, source)
        }
        feedForward = try FeedForwardLayer(
            description.feedForward, hiddenSize: description.hiddenSize, site: description.feedForwardSite,
            source)
    }

    /// - Shapes: x [n, d] over packed sequences; result [n, d].
    package func callAsFunction(_ x: Tensor, _ context: BlockContext) -> Tensor {
        var x = x
        for layer in attentions {
            x = residual(x, layer.norm) { layer($0, context) }
        }
        return residual(x, feedForward.norm) { feedForward($0, context) }
    }

    private func residual(_ x: Tensor, _ norm: Norm, _ sublayer: (Tensor) -> Tensor) -> Tensor {
        description.isPreNorm ? add(x, sublayer(norm(x))) : norm(x, adding: sublayer(x))
    }
}

/// An attention sub-layer without its residual addition.
private struct AttentionLayer {
    let norm: Norm
    private let description: AttentionDescription
    private let query: Dense
    private let key: Dense
    private let value: Dense
    private let output: Dense
    private let branch: (any Branch)?

    init(
        _ description: AttentionDescription, hiddenSize: Int, site: String, _ source: any ParameterSource
    ) throws {
        self.description = description
        let width = description.headCount * description.headSize
        let keyWidth = description.keyValueHeadCount * description.headSize
        let hasBias = description.hasInputBias
        query = try Dense(description.query, from: hiddenSize, to: width, hasBias: hasBias, source)
        key = try Dense(description.key, from: hiddenSize, to: keyWidth, hasBias: hasBias, source)
        value = try Dense(description.value, from: hiddenSize, to: keyWidth, hasBias: hasBias, source)
        output = try Dense(
            description.output, from: width, to: hiddenSize, hasBias: description.hasOutputBias, source)
        branch =
            description.kind == .selfAttention
            ? try source.branch(behindSublayer: site, size: hiddenSize) : nil
        norm = try Norm(description.norm, source)
    }

    func callAsFunction(_ x: Tensor, _ context: BlockContext) -> Tensor {
        let isCross = description.kind == .crossAttention
        let q = placed(query(x, context.dropout, spans: context.spans), context)
        let keys: KeysAndValues
        if let cache = context.cache {
            keys =
                isCross
                ? cache.crossKeys { projectEncoderOutput(context) }
                : cache.appendSelf(projectOwn(x, context))
        } else {
            keys = isCross ? projectEncoderOutput(context) : projectOwn(x, context)
        }
        let shape = AttentionShape(
            querySpans: context.spans, keySpans: keys.spans, headCount: description.headCount,
            keyValueHeadCount: description.keyValueHeadCount, headSize: description.headSize,
            scale: description.scale, isCausal: description.isCausal)
        let mixed = attention(
            q, keys.keys, keys.values, shape,
            bias: description.positions == .distanceTable ? context.positionBias : nil,
            dropout: context.dropout(at: .probabilities, of: description.dropoutPlaces).map {
                AttentionDropout(
                    probability: $0.probability, keys: $0.keys(description.output + ".probabilities"))
            })
        let y = drop(
            output(mixed, context.dropout, spans: context.spans),
            context.dropout(at: .outputs, of: description.dropoutPlaces), description.output,
            spans: context.spans)
        return attached(branch, y, context)
    }

    private func projectOwn(_ x: Tensor, _ context: BlockContext) -> KeysAndValues {
        let (keys, values) = project(x, context, spans: context.spans)
        return KeysAndValues(keys: placed(keys, context), values: values, spans: context.spans)
    }

    private func project(_ x: Tensor, _ context: BlockContext, spans: [Range<Int>]) -> (Tensor, Tensor) {
        (key(x, context.dropout, spans: spans), value(x, context.dropout, spans: spans))
    }

    private func projectEncoderOutput(_ context: BlockContext) -> KeysAndValues {
        let (keys, values) = project(context.encoderOutput!, context, spans: context.encoderSpans)
        return KeysAndValues(keys: keys, values: values, spans: context.encoderSpans)
    }

    /// Queries or keys that know where they stand, under rotary positions.
    private func placed(_ x: Tensor, _ context: BlockContext) -> Tensor {
        guard description.positions == .rotary, let (table, positions) = context.rotary else { return x }
        return rotate(x, positions: positions, table)
    }
}

/// A feed-forward sub-layer without its residual addition.
private struct FeedForwardLayer {
    let norm: Norm
    private let description: FeedForwardDescription
    private let inputs: [Dense]
    private let output: Dense
    private let branch: (any Branch)?

    init(
        _ description: FeedForwardDescription, hiddenSize: Int, site: String, _ source: any ParameterSource
    ) throws {
        self.description = description
        inputs = try description.inputs.map {
            try Dense($0, from: hiddenSize, to: description.width, hasBias: description.hasBias, source)
        }
        output = try Dense(
            description.output, from: description.width, to: hiddenSize, hasBias: description.hasBias, source)
        branch = try source.branch(behindSublayer: site, size: hiddenSize)
        norm = try Norm(description.norm, source)
    }

    func callAsFunction(_ x: Tensor, _ context: BlockContext) -> Tensor {
        let projected = inputs.map { $0(x, context.dropout, spans: context.spans) }
        let hidden =
            projected.count == 2
            ? gatedActivation(gate: projected[0], up: projected[1], description.activation)
            : activation(projected[0], description.activation)
        let kept = drop(
            hidden, context.dropout(at: .activations, of: description.dropoutPlaces),
            description.output + ".input", spans: context.spans)
        let y = drop(
            output(kept, context.dropout, spans: context.spans),
            context.dropout(at: .outputs, of: description.dropoutPlaces), description.output,
            spans: context.spans)
        return attached(branch, y, context)
    }
}

/// A sub-layer's result with what a technique attached behind it.
private func attached(_ branch: (any Branch)?, _ y: Tensor, _ context: BlockContext) -> Tensor {
    branch.map { add(y, $0(y, context.dropout, spans: context.spans)) } ?? y
}
