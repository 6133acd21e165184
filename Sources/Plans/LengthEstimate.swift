/// The mean time of a mini-batch where samples differ in length.
///
/// A profile's samples all have the mean length. In a real mini-batch the rank with the longest samples is waited for, so a
/// step lasts longer than its mean samples would: the more so, the better the shares are balanced.
extension StageCosts {
    /// Mean seconds of some mini-batches by the schedule's estimate.
    ///
    /// - Parameters:
    ///   - plan: of stages that were priced before.
    ///   - miniBatches: the tokens of each sample, by slot.
    /// - Returns: nil for a plan without a prediction, or where there is nothing to average.
    package func meanStepSeconds(of plan: Plan, miniBatches: [[Int]]) -> Double? {
        guard let predicted = plan.predicted, !miniBatches.isEmpty, profile.meanTokens.source > 0 else {
            return nil
        }
        let total = miniBatches.reduce(0.0) { sum, tokens in
            sum + stepSeconds(of: plan, predicted.stages, tokens: tokens)
        }
        return total / Double(miniBatches.count)
    }

    private func stepSeconds(of plan: Plan, _ stages: [StagePrediction], tokens: [Int]) -> Double {
        let mean = Double(profile.meanTokens.source)
        let size = plan.microBatchSize
        var loaded = stages
        for (index, stage) in plan.stages.enumerated() {
            // By rank and micro-batch.
            var times: [[(forward: Double, backward: Double)]] = []
            var first = 0
            for (rank, share) in zip(stage.ranks, stage.share) {
                times.append(
                    (0..<plan.microBatchCount).map { microBatch in
                        let start = min(microBatch * size + first, tokens.count)
                        let slots = start..<min(start + share, tokens.count)
                        return seconds(
                            of: stage, on: rank, samples: Double(tokens[slots].reduce(0, +)) / mean)
                    })
                first += share
            }
            let count = Double(plan.microBatchCount)
            if plan.stages.count == 1 {
                // Ranks of a single stage wait for each other once, after the last micro-batch.
                let slowest = times.max {
                    $0.reduce(0) { $0 + $1.forward + $1.backward }
                        < $1.reduce(0) { $0 + $1.forward + $1.backward }
                }!
                loaded[index].forwardSeconds = slowest.reduce(0) { $0 + $1.forward } / count
                loaded[index].backwardSeconds = slowest.reduce(0) { $0 + $1.backward } / count
                loaded[index].microBatchSeconds = loaded[index].forwardSeconds + loaded[index].backwardSeconds
            } else {
                func mean(_ time: ((forward: Double, backward: Double)) -> Double) -> Double {
                    (0..<plan.microBatchCount).reduce(0.0) { sum, microBatch in
                        sum + (times.map { time($0[microBatch]) }.max() ?? 0)
                    } / count
                }
                loaded[index].forwardSeconds = mean { $0.forward }
                loaded[index].backwardSeconds = mean { $0.backward }
                loaded[index].microBatchSeconds = mean { $0.forward + $0.backward }
            }
        }
        return schedule.stepSeconds(loaded, microBatchCount: plan.microBatchCount)
    }

    /// Forward and backward of a stage on one rank; where it recomputes, backward begins with a second forward.
    private func seconds(of stage: StagePlan, on rank: Int, samples: Double) -> (
        forward: Double, backward: Double
    ) {
        guard samples > 0 else { return (0, 0) }
        let forward = stage.layers.reduce(0.0) {
            $0 + profile.forwardSeconds(device: rank, layer: $1, samples: samples)
        }
        let backward = stage.layers.reduce(0.0) {
            $0 + profile.backwardSeconds(device: rank, layer: $1, samples: samples)
        }
        return (forward, stage.recompute ? backward + forward : backward)
    }
}
