import Support
import TensorCore

/// What a stage runs: its slice of the backbone, the side network beside it, if the technique has one, and, on the last
/// stage, the head.
///
/// The backbone can be released; the side network then runs from cached activations.
package final class StageModel {
    package let family: any ModelFamily
    package let steps: [LayerStep]
    package let parameters: ParameterBucket
    package let side: SideNetwork?
    package let head: TaskHead?
    package private(set) var backbone: BackboneSlice?
    private let technique: any TuningTechnique

    /// What to build.
    package struct Configuration: Sendable {
        package var technique: any TuningTechnique
        package var head: HeadKind
        package var pooling: Pooling

        package init(technique: any TuningTechnique, head: HeadKind, pooling: Pooling) {
            self.technique = technique
            self.head = head
            self.pooling = pooling
        }
    }

    /// Builds the parts of some steps; trainable values are zero until they are set.
    ///
    /// - Parameters: `frozen` gives the head's frozen tensors, and the backbone's when `withBackbone`.
    package init(
        _ family: any ModelFamily, _ configuration: Configuration, steps: [LayerStep],
        frozen: any ParameterSource,
        withBackbone: Bool, ledger: Ledger
    ) throws {
        self.family = family
        self.steps = steps
        technique = configuration.technique
        parameters = ParameterBucket(
            try Self.declarations(family, configuration, steps: steps), ledger: ledger)
        let parts = try Parts(
            family, configuration, steps, frozen: SharingSource(frozen), trainable: BucketSource(parameters),
            withBackbone: withBackbone)
        (side, head, backbone) = (parts.side, parts.head, parts.backbone)
    }

    /// The trainable parameters of some steps, in the order of their bucket, without building anything.
    package static func declarations(
        _ family: any ModelFamily, _ configuration: Configuration, steps: [LayerStep]
    ) throws -> [ParameterBucket.Declaration] {
        try inventory(family, configuration, steps: steps).trainable
    }

    /// All parameters of some steps, each once: those that the technique trains, in the order of their bucket, and the
    /// frozen ones.
    package static func inventory(
        _ family: any ModelFamily, _ configuration: Configuration, steps: [LayerStep]
    ) throws -> (trainable: [ParameterBucket.Declaration], frozen: [ParameterBucket.Declaration]) {
        let (trainable, frozen) = (DeclaringSource(), DeclaringSource())
        _ = try Parts(
            family, configuration, steps, frozen: frozen, trainable: trainable, withBackbone: true)
        return (ParameterBucket.ordered(trainable.declarations), frozen.declarations)
    }

    private struct Parts {
        let backbone: BackboneSlice?
        let side: SideNetwork?
        let head: TaskHead?

        init(
            _ family: any ModelFamily, _ configuration: Configuration, _ steps: [LayerStep],
            frozen: any ParameterSource, trainable: any ParameterSource, withBackbone: Bool
        ) throws {
            let model = configuration.technique.source(frozen: frozen, trainable: trainable, family)
            backbone = withBackbone ? try BackboneSlice(family, steps: steps, source: model) : nil
            side = try configuration.technique.side.map {
                try SideNetwork(family, $0, steps: steps, source: trainable)
            }
            head =
                steps.contains(.head)
                ? try TaskHead(
                    family, configuration.head, pooling: configuration.pooling, model: model, frozen: frozen,
                    trainable: trainable) : nil
        }
    }

    /// Lets go of the backbone's slice; what the head needs stays.
    package func releaseBackbone() { backbone = nil }

    /// Maps the backbone's slice again, for an evaluation that needs it.
    package func restoreBackbone(from frozen: any ParameterSource) throws {
        let held = (head?.frozenTensors ?? []).map { ($0.name, $0.weight) }
        let frozen = SharingSource(frozen, known: Dictionary(held, uniquingKeysWith: { first, _ in first }))
        backbone = try BackboneSlice(
            family, steps: steps,
            source: technique.source(frozen: frozen, trainable: BucketSource(parameters), family))
    }

    /// Dropout of the backbone: only where it is trained.
    private func backboneDropout(_ keys: DropoutKeys?) -> DropoutKeys? {
        technique.gradientLane == .backbone ? keys : nil
    }

    /// Runs the stage's steps on a micro-batch.
    ///
    /// - Parameters: `state` is what the stage before sent, nil on the first; `runsSide` is off where only the backbone's
    ///   activations are wanted; `onActivation` sees every b that the side network reads as it is made, with its stack and
    ///   layer number (0 for the embedding). From the second token of a generation on, `state` is the result for the token
    ///   before: it holds the encoder's output, and the encoder's steps are passed over.
    package func forward(
        _ state: HiddenState?, _ batch: MicroBatch, dropout: DropoutKeys? = nil,
        caches: StageCaches? = nil, runsSide: Bool = true,
        onActivation: ((StackKind, Int, Tensor) -> Void)? = nil
    ) -> HiddenState {
        var backboneLane = state?.backbone
        var sideLane = state?.side
        for step in steps where step != .head {
            if step.activation?.stack == .encoder, backboneLane?.encoderOutput != nil { continue }
            let lane = backbone!.advance(
                backboneLane, step, batch, dropout: backboneDropout(dropout), caches: caches?.backbone)
            if let side {
                if let (stack, layer) = step.activation, side.stacks.contains(stack) {
                    onActivation?(stack, layer, lane.hidden)
                }
                if runsSide {
                    sideLane = side.advance(
                        sideLane, past: step, activation: lane.hidden, batch, dropout: dropout,
                        caches: caches?.side)
                }
            }
            backboneLane = lane
        }
        return HiddenState(backbone: backboneLane!, side: sideLane)
    }

    /// Runs all steps of the side network from cached activations, without a backbone.
    ///
    /// - Parameter activation: b of a stack and layer, [n, d]; rows may be strided.
    package func forward(
        _ batch: MicroBatch, dropout: DropoutKeys? = nil, activation: (StackKind, Int) -> Tensor
    ) -> HiddenState {
        guard let side else { preconditionFailure("only a side network runs from a cache") }
        var sideLane: Lane?
        var last: Tensor?
        for step in steps {
            guard let (stack, layer) = step.activation, side.stacks.contains(stack) else { continue }
            let b = activation(stack, layer)
            sideLane = side.advance(sideLane, past: step, activation: b, batch, dropout: dropout)
            last = b
        }
        return HiddenState(backbone: Lane(hidden: last!), side: sideLane!)
    }

    /// The head's predictions. On the last stage only.
    package func logits(
        _ state: HiddenState, _ batch: MicroBatch, selection: RowSelection? = nil, dropout: DropoutKeys? = nil
    ) -> Tensor {
        head!.logits(
            finalHidden(state, batch, selection: selection, dropout: dropout),
            dropout: backboneDropout(dropout))
    }

    /// z: the hidden state that the head sees, for the selected rows.
    package func finalHidden(
        _ state: HiddenState, _ batch: MicroBatch, selection: RowSelection? = nil, dropout: DropoutKeys? = nil
    ) -> Tensor {
        let head = head!
        let selection = selection ?? head.selection(batch)
        let backboneRows = {
            head.backboneRows(
                state.backbone.hidden, selection, batch, dropout: self.backboneDropout(dropout))
        }
        guard let side, let lane = state.side else { return backboneRows() }
        return side.readOut(backboneRows, side: select(side.final(lane, batch, dropout: dropout), selection))
    }
}

/// The key/value caches of both networks during a generation.
package final class StageCaches {
    package let backbone: GenerationCaches
    package let side: GenerationCaches

    /// - Parameter capacity: tokens that a sequence can grow to.
    package init(capacity: Int) {
        backbone = GenerationCaches(capacity: capacity)
        side = GenerationCaches(capacity: capacity)
    }
}

extension LayerStep {
    /// The stack of a step; nil for the head.
    package var stack: StackKind? { activation?.stack }

    /// The stack and layer number of the activation b that a step leaves: 0 for an embedding, i for block i - 1.
    package var activation: (stack: StackKind, layer: Int)? {
        switch self {
        case .embedding(let stack): (stack, 0)
        case .block(let stack, let index): (stack, index + 1)
        case .head: nil
        }
    }
}
