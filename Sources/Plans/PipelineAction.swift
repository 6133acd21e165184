import Support

/// One thing that a stage does, in the order of its schedule. The number is the micro-batch, from 0.
///
/// As text: `RF0 F0 SF0 RB0 B0 SB0 AR OS`.
package enum PipelineAction: Sendable, Hashable {
    /// RF: take the hidden state of a micro-batch from the previous stage.
    case receiveForward(Int)
    /// F: run the stage's layers forward.
    case forward(Int)
    /// SF: send the hidden state to the next stage, without blocking.
    case sendForward(Int)
    /// RB: take the gradient of what was sent from the next stage.
    case receiveBackward(Int)
    /// B: run the stage's layers backward; what forward saved is released.
    case backward(Int)
    /// SB: send the gradient of what was received to the previous stage, without blocking.
    case sendBackward(Int)
    /// AR: sum the trainable gradients over the stage group.
    case allReduceGradients
    /// OS: step the optimizer.
    case optimizerStep
}

extension PipelineAction: LosslessStringConvertible {
    /// The compact form: "RF3", "AR".
    package var description: String {
        switch self {
        case .receiveForward(let m): "RF\(m)"
        case .forward(let m): "F\(m)"
        case .sendForward(let m): "SF\(m)"
        case .receiveBackward(let m): "RB\(m)"
        case .backward(let m): "B\(m)"
        case .sendBackward(let m): "SB\(m)"
        case .allReduceGradients: "AR"
        case .optimizerStep: "OS"
        }
    }

    /// Parses the compact form exactly as `description` writes it; nil for anything else.
    package init?(_ text: String) {
        let letters = text.prefix { !$0.isNumber }
        let microBatch = Int(text.dropFirst(letters.count)) ?? 0
        switch letters {
        case "RF": self = .receiveForward(microBatch)
        case "F": self = .forward(microBatch)
        case "SF": self = .sendForward(microBatch)
        case "RB": self = .receiveBackward(microBatch)
        case "B": self = .backward(microBatch)
        case "SB": self = .sendBackward(microBatch)
        case "AR": self = .allReduceGradients
        case "OS": self = .optimizerStep
        default: return nil
        }
        // "F", "F007" and "AR1" come this far.
        guard description == text else { return nil }
    }
}
