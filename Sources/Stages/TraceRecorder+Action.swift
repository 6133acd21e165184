import Plans
import Reporting

extension TraceRecorder {
    /// Runs an action of the schedule and records how long it took, under its text, if the step is recorded.
    package func measure<Value>(_ action: PipelineAction, bytes: Int? = nil, _ body: () throws -> Value)
        rethrows
        -> Value
    {
        try measure(action.description, action.traceCategory, bytes: bytes, body)
    }
}

extension PipelineAction {
    /// What a trace calls such an action.
    package var traceCategory: TraceCategory {
        switch self {
        case .receiveForward, .receiveBackward: .receive
        case .forward: .forward
        case .sendForward, .sendBackward: .transfer
        case .backward: .backward
        case .allReduceGradients: .allReduce
        case .optimizerStep: .optimizer
        }
    }

    /// The micro-batch that it is about; nil for what a mini-batch has once.
    package var microBatch: Int? {
        switch self {
        case .receiveForward(let m), .forward(let m), .sendForward(let m), .receiveBackward(let m),
            .backward(let m), .sendBackward(let m):
            m
        case .allReduceGradients, .optimizerStep: nil
        }
    }
}
