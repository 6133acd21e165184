import Plans

/// The bytes of a rank under 1F1B written down a second time, moment by moment, for profiles in which all samples are equally
/// long, no layer shares a parameter, holds its input or has a cache, and AdamW trains.
struct NaiveMemory {
    let profile: Profile

    private func forward(_ layer: Int) -> Double {
        let bytes = profile.layers[layer].forwardBytesPerToken
        return bytes.source * profile.meanTokens.source + bytes.target * profile.meanTokens.target
    }

    private func backward(_ layer: Int) -> Double {
        let bytes = profile.layers[layer].backwardBytesPerToken
        return bytes.source * profile.meanTokens.source + bytes.target * profile.meanTokens.target
    }

    /// Peak bytes of a rank that takes `share` samples of each micro-batch of a plan's stage.
    func bytes(_ plan: Plan, stage index: Int, share: Int) -> Int {
        let stage = plan.stages[index].layers
        // Parameters; of what is trained also gradients and two moments.
        let resident = profile.layers[stage].reduce(0) { $0 + $1.parameterBytes + 3 * $1.trainableBytes }
        guard share > 0 else { return resident }
        let samples = Double(share)
        let inFlight = min(plan.microBatchCount, plan.stages.count - index)
        let isLast = stage.upperBound == profile.layers.count

        // What each micro-batch in flight holds: the input of the stage, what its layers save, and what was sent, as far as
        // a gradient comes for it.
        let input = stage.lowerBound == 0 ? 0 : forward(stage.lowerBound - 1)
        let saved = profile.layers[stage].reduce(0) { $0 + $1.savedBytesPerSample }
        let result = isLast ? 0 : backward(stage.upperBound - 1)
        let others = Double(inFlight - 1) * samples * (saved + result)

        let messages = messages(plan, stage, inFlight: inFlight)
        // While a layer runs forward or backward: what it and the layers before it save, what it needs, and its input. Behind
        // it stands what the stage computed, with its gradient.
        var moments = [samples * input]
        for layer in stage {
            let before = profile.layers[stage.lowerBound...layer].reduce(0) { $0 + $1.savedBytesPerSample }
            let itsInput = layer > stage.lowerBound ? forward(layer - 1) : 0
            let distanceToEnd = stage.upperBound - 1 - layer
            let behind: Double =
                if isLast {
                    // Of the last stage that is the input of the last layer, which is the result of the one before.
                    distanceToEnd > 1 ? forward(profile.layers.count - 2) : 0
                } else {
                    distanceToEnd > 0 ? 2 * result : 0
                }
            moments.append(
                samples * (before + profile.layers[layer].transientBytesPerSample + itsInput + behind))
        }
        // Between layers: that alone.
        moments.append(samples * 2 * result)
        if isLast, profile.layers.count > 1 { moments.append(samples * forward(profile.layers.count - 2)) }
        let running = moments.max()! + samples * messages.running
        // When the last forward before the first backward is over, its result is put into a message.
        let packed = isLast ? 0 : max(result, forward(stage.upperBound - 1))
        let waiting = samples * (saved + packed + messages.waiting)
        let rest = Double(inFlight) * samples * input + others + max(running, waiting)
        return resident + Int(rest.rounded(.up))
    }

    /// Bytes of a sample in messages while a layer runs, and when forward is over. Two receives are posted ahead in each
    /// direction while so many are to come, and at most four sends are on their way.
    private func messages(_ plan: Plan, _ stage: Range<Int>, inFlight: Int) -> (
        running: Double, waiting: Double
    ) {
        let count = plan.microBatchCount
        let sends = min(4, inFlight)
        let toCome = count - inFlight
        // Rows: before the first backward; then, in turn; at the end of the forwards.
        var (early, inTurn, waiting) = (0.0, 0.0, 0.0)
        if stage.lowerBound > 0 {
            let (activation, gradient) = (forward(stage.lowerBound - 1), backward(stage.lowerBound - 1))
            early = Double(min(2, toCome)) * activation
            inTurn = max(early, Double(max(0, min(2, toCome - 1))) * activation + gradient)
            waiting = early
        }
        if stage.upperBound < profile.layers.count {
            let (activation, gradient) = (forward(stage.upperBound - 1), backward(stage.upperBound - 1))
            let expected = Double(min(2, count)) * gradient
            early += expected + Double(sends - 1) * activation
            waiting += expected + Double(sends) * activation
            inTurn += Double(min(2, count - 1)) * gradient
            inTurn += (gradient > 0 ? 1 : Double(min(2, count))) * activation
        }
        return (max(early, inTurn), waiting)
    }
}
