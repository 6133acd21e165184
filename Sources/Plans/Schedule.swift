import Support

/// Makes and reads the action lists that the runtime interprets; as text, tests compare them.
package enum Schedule {
    /// Receives that a rank posts ahead in each direction: one in use, one arriving.
    package static let receivesAhead = 2
    /// Micro-batches that a rank may have sent and its neighbours not yet received, in both directions together. Neighbours
    /// post receives ahead in each direction, so two ranks never wait for each other.
    package static let sendsUnderWay = 4

    /// One stage's actions for one mini-batch under 1F1B: warm-up forwards, then one forward and one backward in turn, then
    /// the remaining backwards, the all-reduce and the optimizer's step.
    ///
    /// Stage i of S (from 0) holds at most min(M, S - i) micro-batches between forward and backward. Sends must not block:
    /// in the steady phase neighbours send towards each other.
    ///
    /// Source: section 5.1 of the paper, after PipeDream.
    package static func oneForwardOneBackward(stage: Int, stageCount: Int, microBatchCount: Int)
        -> [PipelineAction]
    {
        precondition(
            (0..<stageCount).contains(stage) && microBatchCount > 0, "no such stage or no micro-batch")
        let warmUpCount = min(microBatchCount, stageCount - 1 - stage)
        func forward(_ m: Int) -> [PipelineAction] { forwardActions(m, stage: stage, stageCount: stageCount) }
        func backward(_ m: Int) -> [PipelineAction] {
            (stage < stageCount - 1 ? [.receiveBackward(m)] : []) + [.backward(m)]
                + (stage > 0 ? [.sendBackward(m)] : [])
        }
        let warmUp = (0..<warmUpCount).flatMap(forward)
        let steady = (warmUpCount..<microBatchCount).flatMap { forward($0) + backward($0 - warmUpCount) }
        let coolDown = (microBatchCount - warmUpCount..<microBatchCount).flatMap(backward)
        return warmUp + steady + coolDown + [.allReduceGradients, .optimizerStep]
    }

    /// One stage's actions for evaluating a mini-batch: forwards only, in order.
    package static func forwardOnly(stage: Int, stageCount: Int, microBatchCount: Int) -> [PipelineAction] {
        precondition(
            (0..<stageCount).contains(stage) && microBatchCount > 0, "no such stage or no micro-batch")
        return (0..<microBatchCount).flatMap { forwardActions($0, stage: stage, stageCount: stageCount) }
    }

    /// The list as one line: "F0 SF0 RB0 B0 AR OS".
    package static func text(_ actions: [PipelineAction]) -> String {
        actions.map(\.description).joined(separator: " ")
    }

    /// Reads what `text` writes; any run of spaces separates.
    ///
    /// - Throws: a configuration failure that names the position and the word that is no action.
    package static func parse(_ text: String) throws -> [PipelineAction] {
        try text.split(separator: " ").enumerated().map { index, word in
            guard let action = PipelineAction(String(word)) else {
                throw Failure.configuration(
                    "schedule: action \(index): expected RF, F, SF, RB, B or SB with a micro-batch, AR or OS, "
                        + "found \"\(word)\"")
            }
            return action
        }
    }

    private static func forwardActions(_ m: Int, stage: Int, stageCount: Int) -> [PipelineAction] {
        (stage > 0 ? [.receiveForward(m)] : []) + [.forward(m)]
            + (stage < stageCount - 1 ? [.sendForward(m)] : [])
    }
}
