import TensorCore

/// The two networks that a state belongs to.
public enum LaneKind: Sendable { case backbone, side }

/// Hidden states on their way through the layers of one network, backbone or side.
public struct Lane {
    public var hidden: Tensor
    /// What the encoder ended with, after its final norm; nil before a decoder begins.
    public var encoderOutput: Tensor?

    public init(hidden: Tensor, encoderOutput: Tensor? = nil) {
        self.hidden = hidden
        self.encoderOutput = encoderOutput
    }
}

/// What travels from layer to layer and from stage to stage.
public struct HiddenState {
    public var backbone: Lane
    /// nil under techniques without a side network, and before it begins.
    public var side: Lane?

    public init(backbone: Lane, side: Lane? = nil) {
        self.backbone = backbone
        self.side = side
    }

    /// A state of the tensors that a boundary's parts name, in their order.
    public init(_ parts: [StatePart], _ tensors: [Tensor]) {
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
    public subscript(part: StatePart) -> Tensor {
        let lane = part.lane == .backbone ? backbone : side!
        return part.isEncoderOutput ? lane.encoderOutput! : lane.hidden
    }

    /// The tensors of the lane along which gradients flow; none before the lane begins.
    public func tensors(of kind: LaneKind) -> [Tensor] {
        guard let lane = kind == .backbone ? backbone : side else { return [] }
        return [lane.hidden] + (lane.encoderOutput.map { [$0] } ?? [])
    }
}

/// One tensor of the state between two layers: whose it is, whose rows it has, and how wide it is.
public struct StatePart: Sendable, Equatable {
    public let lane: LaneKind
    /// Whether it is the encoder's result, which every later layer of a decoder reads.
    public let isEncoderOutput: Bool
    public let stack: StackKind
    public let columns: Int
}

/// What crosses the boundary before a planner layer: forward the state, backward the gradients of one lane of it.
public struct BoundaryDescription: Sendable {
    public let stack: StackKind
    public let forward: [StatePart]
    /// Empty when nothing before the boundary is trained.
    public let backward: [StatePart]

    /// - Parameter layer: the planner layer behind the boundary, at least 1.
    public init(
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
