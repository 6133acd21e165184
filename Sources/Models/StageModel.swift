import Support
import TensorCore

/// What a stage runs: its slice of the frozen backbone, the side network beside it and, on the last stage, the head.
///
/// The backbone can be released; the side network then runs from cached activations.
public final class StageModel {
    public let family: any ModelFamily
    public let steps: [LayerStep]
    public let parameters: ParameterBucket
    public let side: SideNetwork
    public let head: TaskHead?
    public private(set) var backbone: BackboneSlice?

    /// What to build.
    public struct Configuration: Sendable {
        public var adapters: ParallelAdaptersConfiguration
        public var head: HeadKind
        public var pooling: Pooling

        public init(adapters: ParallelAdaptersConfiguration, head: HeadKind, pooling: Pooling) {
            self.adapters = adapters
            self.head = head
            self.pooling = pooling
        }
    }

    /// Builds the parts of some steps; trainable values are zero until they are set.
    ///
    /// - Parameters: `frozen` gives the head's frozen tensors, and the backbone's when `withBackbone`.
    public init(
        _ family: any ModelFamily, _ configuration: Configuration, steps: [LayerStep],
        frozen: any ParameterSource,
        withBackbone: Bool, ledger: Ledger
    ) throws {
        self.family = family
        self.steps = steps
        parameters = ParameterBucket(
            try Self.declarations(family, configuration, steps: steps), ledger: ledger)
        (side, head) = try Self.build(
            family, configuration, steps, frozen: frozen, trainable: BucketSource(parameters))
        backbone = withBackbone ? try BackboneSlice(family, steps: steps, source: frozen) : nil
    }

    /// The trainable parameters of some steps, in the order of their bucket, without building anything.
    public static func declarations(
        _ family: any ModelFamily, _ configuration: Configuration, steps: [LayerStep]
    ) throws -> [ParameterBucket.Declaration] {
        let declaring = DeclaringSource()
        _ = try build(family, configuration, steps, frozen: DeclaringSource(), trainable: declaring)
        return ParameterBucket.ordered(declaring.declarations)
    }

    private static func build(
        _ family: any ModelFamily, _ configuration: Configuration, _ steps: [LayerStep],
        frozen: any ParameterSource, trainable: any ParameterSource
    ) throws -> (SideNetwork, TaskHead?) {
        let side = try SideNetwork(family, configuration.adapters, steps: steps, source: trainable)
        guard steps.contains(.head) else { return (side, nil) }
        return (
            side,
            try TaskHead(
                family, configuration.head, pooling: configuration.pooling, frozen: frozen,
                trainable: trainable)
        )
    }

    /// Lets go of the backbone's slice; what the head needs stays.
    public func releaseBackbone() { backbone = nil }

    /// Maps the backbone's slice again, for an evaluation that needs it.
    public func restoreBackbone(from frozen: any ParameterSource) throws {
        backbone = try BackboneSlice(family, steps: steps, source: frozen)
    }

    /// Runs the stage's steps on a micro-batch.
    ///
    /// - Parameters: `state` is what the stage before sent, nil on the first; `onActivation` sees every b as it is made,
    ///   with its stack and layer number (0 for the embedding). From the second token of a generation on, `state` is the
    ///   result for the token before: it holds the encoder's output, and the encoder's steps are passed over.
    public func forward(
        _ state: HiddenState?, _ batch: MicroBatch, dropout: DropoutKeys? = nil,
        caches: StageCaches? = nil, onActivation: ((StackKind, Int, Tensor) -> Void)? = nil
    ) -> HiddenState {
        var backboneLane = state?.backbone
        var sideLane = state?.side
        for step in steps where step != .head {
            if step.activation?.stack == .encoder, backboneLane?.encoderOutput != nil { continue }
            let lane = backbone!.advance(backboneLane, step, batch, caches: caches?.backbone)
            if let (stack, layer) = step.activation { onActivation?(stack, layer, lane.hidden) }
            sideLane = side.advance(
                sideLane, past: step, activation: lane.hidden, batch, dropout: dropout, caches: caches?.side)
            backboneLane = lane
        }
        return HiddenState(backbone: backboneLane!, side: sideLane!)
    }

    /// Runs all steps from cached activations, without a backbone.
    ///
    /// - Parameter activation: b of a stack and layer, [n, d]; rows may be strided.
    public func forward(
        _ batch: MicroBatch, dropout: DropoutKeys? = nil, activation: (StackKind, Int) -> Tensor
    ) -> HiddenState {
        var sideLane: Lane?
        var last: Tensor?
        for step in steps {
            guard let (stack, layer) = step.activation else { continue }
            let b = activation(stack, layer)
            sideLane = side.advance(sideLane, past: step, activation: b, batch, dropout: dropout)
            last = b
        }
        return HiddenState(backbone: Lane(hidden: last!), side: sideLane!)
    }

    /// The head's predictions. On the last stage only.
    public func logits(
        _ state: HiddenState, _ batch: MicroBatch, selection: RowSelection? = nil, dropout: DropoutKeys? = nil
    ) -> Tensor {
        head!.logits(finalHidden(state, batch, selection: selection, dropout: dropout))
    }

    /// z: the hidden state that the head sees, for the selected rows.
    public func finalHidden(
        _ state: HiddenState, _ batch: MicroBatch, selection: RowSelection? = nil, dropout: DropoutKeys? = nil
    ) -> Tensor {
        let head = head!
        let selection = selection ?? head.selection(batch)
        let s = select(side.final(state.side, batch, dropout: dropout), selection)
        return side.readOut({ head.backboneRows(state.backbone.hidden, selection) }, side: s)
    }
}

/// The key/value caches of both networks during a generation.
public final class StageCaches {
    public let backbone: GenerationCaches
    public let side: GenerationCaches

    /// - Parameter capacity: tokens that a sequence can grow to.
    public init(capacity: Int) {
        backbone = GenerationCaches(capacity: capacity)
        side = GenerationCaches(capacity: capacity)
    }
}

extension LayerStep {
    /// The stack and layer number of the activation b that a step leaves: 0 for an embedding, i for block i - 1.
    public var activation: (stack: StackKind, layer: Int)? {
        switch self {
        case .embedding(let stack): (stack, 0)
        case .block(let stack, let index): (stack, index + 1)
        case .head: nil
        }
    }
}
