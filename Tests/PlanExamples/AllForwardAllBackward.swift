import Plans

extension PipelineSchedule {
    /// GPipe's order: every forward of the mini-batch, then every backward. It proves that a schedule is a parameter.
    package static let allForwardAllBackward = PipelineSchedule(
        actions: { stage, stageCount, microBatchCount in
            let (isFirst, isLast) = (stage == 0, stage == stageCount - 1)
            let forwards = (0..<microBatchCount).flatMap { m -> [PipelineAction] in
                (isFirst ? [] : [.receiveForward(m)]) + [.forward(m)] + (isLast ? [] : [.sendForward(m)])
            }
            let backwards = (0..<microBatchCount).flatMap { m -> [PipelineAction] in
                (isLast ? [] : [.receiveBackward(m)]) + [.backward(m)] + (isFirst ? [] : [.sendBackward(m)])
            }
            return forwards + backwards + [.allReduceGradients, .optimizerStep]
        },
        inFlightCount: { _, microBatchCount in microBatchCount },
        stepSeconds: { stages, microBatchCount in
            // Both halves pay their own bottleneck.
            let way = stages.reduce(0.0) {
                $0 + $1.forwardSeconds + $1.forwardTransferSeconds + $1.backwardSeconds
                    + $1.backwardTransferSeconds
            }
            let forward = stages.map { max($0.forwardSeconds, $0.forwardTransferSeconds) }.max() ?? 0
            let backward = stages.map { max($0.backwardSeconds, $0.backwardTransferSeconds) }.max() ?? 0
            return way + Double(microBatchCount - 1) * (forward + backward)
                + (stages.map(\.allReduceSeconds).max() ?? 0)
        })
}
