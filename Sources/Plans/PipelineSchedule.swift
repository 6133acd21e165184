import Support

/// In which order each stage runs the forwards and backwards of a mini-batch, and all that depends on that order.
///
/// A run chooses one; the runtime, the simulator, the memory model and the estimates of time are given it. As text, tests
/// compare its lists.
package struct PipelineSchedule: Sendable {
    /// Makes one stage's actions for a mini-batch, from stage, stage count and micro-batch count.
    private let makeActions: @Sendable (Int, Int, Int) -> [PipelineAction]
    /// From the stages from this one to the end, and the micro-batch count.
    private let mostInFlight: @Sendable (Int, Int) -> Int
    /// From what the stages cost, and the micro-batch count.
    private let estimate: @Sendable ([StagePrediction], Int) -> Double

    /// - Parameters:
    ///   - actions: one stage's list for a mini-batch, the all-reduce and the optimizer's step included.
    ///   - inFlightCount: the most micro-batches that a stage holds between forward and backward. Planners build plans from
    ///     the last stage on, so it depends on the number of stages that begin here, and must be the same for all numbers of
    ///     at least the micro-batch count.
    ///   - stepSeconds: the estimated seconds of a mini-batch.
    package init(
        actions:
            @escaping @Sendable (_ stage: Int, _ stageCount: Int, _ microBatchCount: Int) ->
            [PipelineAction],
        inFlightCount: @escaping @Sendable (_ stagesToEnd: Int, _ microBatchCount: Int) -> Int,
        stepSeconds: @escaping @Sendable (_ stages: [StagePrediction], _ microBatchCount: Int) -> Double
    ) {
        makeActions = actions
        mostInFlight = inFlightCount
        estimate = stepSeconds
    }

    /// One stage's actions for a mini-batch.
    package func actions(stage: Int, stageCount: Int, microBatchCount: Int) -> [PipelineAction] {
        precondition(
            (0..<stageCount).contains(stage) && microBatchCount > 0, "no such stage or no micro-batch")
        return makeActions(stage, stageCount, microBatchCount)
    }

    /// The most micro-batches that a stage holds between forward and backward.
    package func inFlightCount(stage: Int, stageCount: Int, microBatchCount: Int) -> Int {
        mostInFlight(stageCount - stage, microBatchCount)
    }

    /// The same for a stage known by its place from the end: 1 is the last.
    package func inFlightCount(stagesToEnd: Int, microBatchCount: Int) -> Int {
        mostInFlight(stagesToEnd, microBatchCount)
    }

    /// The estimated seconds of a mini-batch.
    package func stepSeconds(_ stages: [StagePrediction], microBatchCount: Int) -> Double {
        estimate(stages, microBatchCount)
    }

    /// Receives that a rank posts ahead in each direction: one in use, one arriving.
    package static let receivesAhead = 2
    /// Micro-batches that may be under way to a rank's neighbours at once, in both directions together. The neighbours post
    /// receives ahead in each, so nobody waits for one who waits for him.
    package static let sendsUnderWay = 4

    /// 1F1B: warm-up forwards, then one forward and one backward in turn, then the remaining backwards, the all-reduce and
    /// the optimizer's step.
    ///
    /// Stage i of S (from 0) holds at most min(M, S - i) micro-batches between forward and backward. Sends must not block:
    /// in the steady phase neighbours send towards each other.
    ///
    /// Source: section 5.1 of the paper, after PipeDream.
    package static let oneForwardOneBackward = PipelineSchedule(
        actions: oneForwardOneBackwardActions, inFlightCount: { min($1, $0) },
        stepSeconds: { LatencyEstimate.bottleneck($0, microBatchCount: $1) })

    @Sendable private static func oneForwardOneBackwardActions(
        stage: Int, stageCount: Int, microBatchCount: Int
    ) -> [PipelineAction] {
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
