import TensorCore

/// The two networks that a state belongs to.
package enum LaneKind: Sendable { case backbone, side }

/// Hidden states on their way through the layers of one network, backbone or side.
package struct Lane {
    package var hidden: Tensor
    /// What the encoder ended with, after its final norm; nil before a decoder begins.
    package var encoderOutput: Tensor?

    package init(hidden: Tensor, encoderOutput: Tensor? = nil) {
        self.hidden = hidden
        self.encoderOutput = encoderOutput
    }
}

/// What travels from layer to layer and from stage to stage.
package struct HiddenState {
    package var backbone: Lane
    /// nil under techniques without a side network, and before it begins.
    package var side: Lane?

    package init(backbone: Lane, side: Lane? = nil) {
        self.backbone = backbone
        self.side = side
    }

    /// A state of the tensors that a boundary's parts name, in their order.
    package init(_ parts: [StatePart], _ tensors: [Tensor]) {
        func lane(_ kind: LaneKind) -> Lane? {
            func tensor(isEncoderOutput: Bool) -> Tensor? {
                parts.firstIndex { $0.lane == kind && $0.isEncoderOutput == isEncoderOutput }.map {
                    tensors[$0]
                }
            }
            return tensor(isEncoderOutput: false).map {
                Lane(hidden: $0, encoderOutput: tensor(isEncoderOutput: true))
            }
        }
        self.init(backbone: lane(.backbone)!, side: lane(.side))
    }

    /// The tensor of a part.
    package subscript(part: StatePart) -> Tensor {
        let lane = part.lane == .backbone ? backbone : side!
        return part.isEncoderOutput ? lane.encoderOutput! : lane.hidden
    }

    /// The tensors of the lane along which gradients flow; none before the lane begins.
    package func tensors(of kind: LaneKind) -> [Tensor] {
        guard let lane = kind == .backbone ? backbone : side else { return [] }
        return [lane.hidden] + (lane.encoderOutput.map { [$0] } ?? [])
    }
}

/// One tensor of the state between two layers: whose it is, whose rows it has, and how wide it is.
package struct StatePart: Sendable, Equatable {
    package let lane: LaneKind
    /// Whether it is the encoder's result, which every later layer of a decoder reads.
    package let isEncoderOutput: Bool
    package let stack: StackKind
    package let columns: Int
}

/// What crosses the boundary before a planner layer: forward the state, backward the gradients of one lane of it.
package struct BoundaryDescription: Sendable {
    package let stack: StackKind
    package let forward: [StatePart]
    /// Empty when nothing before the boundary is trained.
    package let backward: [StatePart]

    /// - Parameter layer: the planner layer behind the boundary, at least 1.
    package init(
        before layer: Int, _ family: any ModelFamily, _ configuration: StageModel.Configuration
    ) throws {
        let last = family.plannerLayers[layer - 1].steps.last!.activation!.stack
        stack = last
        let side = try configuration.technique.side?.sideDescription(family)
        let readsEncoderOutput = last != family.stacks[0].kind
        var parts: [StatePart] = []
        for (isEncoderOutput, stack) in readsEncoderOutput
            ? [(false, last), (true, .encoder)] : [(false, last)]
        {
            parts.append(
                StatePart(
                    lane: .backbone, isEncoderOutput: isEncoderOutput, stack: stack,
                    columns: family.hiddenSize))
            if let side, side.stacks.contains(stack) {
                parts.append(
                    StatePart(
                        lane: .side, isEncoderOutput: isEncoderOutput, stack: stack, columns: side.hiddenSize)
                )
            }
        }
        forward = parts
        let trained = try StageModel.declarations(
            family, configuration, steps: family.steps(of: 0..<layer))
        backward =
            trained.isEmpty ? [] : parts.filter { $0.lane == configuration.technique.gradientLane }
    }
}
