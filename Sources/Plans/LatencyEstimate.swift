/// Two estimates of the seconds that one mini-batch takes under 1F1B, from what its stages cost.
package enum LatencyEstimate {
    /// L_b + L_e + L_n of eq. (4) to (6) as printed, with L_e of the same number of stages in eq. (6).
    ///
    /// It prices the steady phase by the last stage alone, so it flatters plans whose bottleneck is elsewhere.
    package static func paper(_ stages: [StagePrediction], microBatchCount: Int) -> Double {
        let last = stages[stages.count - 1]
        let beginning = stages.dropLast().reduce(0) { $0 + $1.forwardSeconds + $1.forwardTransferSeconds }
        let execution = Double(microBatchCount) * (last.forwardSeconds + last.backwardSeconds)
        // Eq. (5) from the last stage backwards: the way of the last gradient to stage i, then its all-reduce.
        var backwardWay = 0.0
        var ending = last.allReduceSeconds
        for stage in stages.dropLast().reversed() {
            backwardWay += stage.backwardSeconds + stage.backwardTransferSeconds
            ending = max(ending, stage.allReduceSeconds + backwardWay)
        }
        return beginning + execution + ending
    }

    /// F = sum(e_f + e_b + c_f + c_b) + (M - 1) x max(stage, link) + AR: the first micro-batch goes through alone, every
    /// other one costs the bottleneck.
    ///
    /// AR is what of the all-reduces is left after the first stage's last backward: a later stage begins its own earlier.
    package static func bottleneck(_ stages: [StagePrediction], microBatchCount: Int) -> Double {
        var way = 0.0
        var backwardWay = 0.0
        var allReduceLeft = 0.0
        for stage in stages {
            allReduceLeft = max(allReduceLeft, stage.allReduceSeconds - backwardWay)
            // From here on: what passes between the next stage's last backward and the first stage's.
            backwardWay += stage.backwardSeconds + stage.backwardTransferSeconds
            way += stage.forwardSeconds + stage.backwardSeconds + stage.linkSeconds
        }
        let slowest = stages.reduce(0) { max($0, $1.microBatchSeconds, $1.linkSeconds) }
        return way + Double(microBatchCount - 1) * slowest + allReduceLeft
    }
}

extension StagePrediction {
    /// c_f + c_b: the time that the link to the next stage is busy for one micro-batch.
    package var linkSeconds: Double { forwardTransferSeconds + backwardTransferSeconds }
}

extension PlannerKind {
    /// Seconds for one mini-batch by this planner's estimate: the paper's own, which is of 1F1B, or the schedule's.
    package func stepSeconds(
        _ stages: [StagePrediction], microBatchCount: Int, schedule: PipelineSchedule
    ) -> Double {
        switch self {
        case .paper: LatencyEstimate.paper(stages, microBatchCount: microBatchCount)
        case .exact: schedule.stepSeconds(stages, microBatchCount: microBatchCount)
        }
    }

    /// W of eq. (2): the slowest stage's seconds for one micro-batch; for `exact`, the slowest stage's or link's.
    package func bottleneckSeconds(_ stages: [StagePrediction]) -> Double {
        stages.reduce(0) { max($0, $1.microBatchSeconds, self == .exact ? $1.linkSeconds : 0) }
    }
}
