import Support

/// What a cell of a table says about a simulated run.
package enum SimulationQuantity: String, Sendable, CaseIterable {
    /// Of all epochs, those from the cache included.
    case hours
    case secondsPerSample = "seconds_per_sample"
    case forwardSecondsPerSample = "forward_seconds_per_sample"
    case backwardSecondsPerSample = "backward_seconds_per_sample"
    case cachedSecondsPerSample = "cached_seconds_per_sample"
    case samplesPerSecond = "samples_per_second"
    /// Of the device that needs most; activations with the optimizer's state, as the paper counts them.
    case peakGiB = "peak_gib"
    case weightsGiB = "weights_gib"
    case gradientsGiB = "gradients_gib"
    case activationsGiB = "activations_gib"
    case cachedPeakGiB = "cached_peak_gib"
    /// Parameters of the model in thousand millions.
    case gigaParameters = "giga_parameters"
    /// Operations of one mini-batch.
    case teraFLOP = "tera_flop"
    case forwardTeraFLOP = "forward_tera_flop"
    /// Of all operations, in per cent.
    case forwardPercent = "forward_percent"
    /// Devices of each stage: "[2-1-1]".
    case grouping
    /// How much shorter training is with the cache than without, in per cent.
    case cacheSavingPercent = "cache_saving_percent"
    /// The same for one epoch.
    case cachedEpochSavingPercent = "cached_epoch_saving_percent"
    /// The share of moving the cache in all training, in per cent.
    case redistributionPercent = "redistribution_percent"

    /// Whether values are percentages, which are compared by their difference.
    var isPercentage: Bool { rawValue.hasSuffix("percent") }

    /// The value of a run; nil for `grouping`, and for the cache of a technique that has none.
    ///
    /// - Throws: a configuration failure when it needs a number of samples that nothing says, or a cache that
    ///   is off.
    package func value(_ run: SimulatedRun) throws -> Double? {
        let size = Double(run.miniBatchSize)
        func gibibytes(_ bytes: Int) -> Double { Double(bytes) / Double(1 << 30) }
        func operations(_ part: (AnalyticModel.Layer) -> Double) -> Double {
            size * run.model.layers.reduce(0) { $0 + part($1) } / 1e12
        }
        let forward = operations { $0.forward + $0.sideForward }
        let total = forward + operations { $0.backward + $0.sideBackward }
        switch self {
        case .hours: return try need(run.trainingSeconds) / 3600
        case .secondsPerSample: return run.stepSeconds / size
        case .forwardSecondsPerSample: return run.stepSeconds / size * run.forwardShare
        case .backwardSecondsPerSample: return run.stepSeconds / size * (1 - run.forwardShare)
        case .cachedSecondsPerSample:
            return run.experiment.technique.isCacheable ? run.cachedStepSeconds / size : nil
        case .samplesPerSecond: return size / run.stepSeconds
        case .peakGiB: return gibibytes(run.largest { $0.total })
        case .weightsGiB: return gibibytes(run.largest { $0.weights })
        case .gradientsGiB: return gibibytes(run.largest { $0.gradients })
        case .activationsGiB: return gibibytes(run.largest { $0.activations + $0.optimizer })
        case .cachedPeakGiB:
            return run.experiment.technique.isCacheable ? gibibytes(run.cachedPeakBytes) : nil
        case .gigaParameters: return Double(run.model.shape.parameterCount) / 1e9
        case .teraFLOP: return total
        case .forwardTeraFLOP: return forward
        case .forwardPercent: return 100 * forward / total
        case .grouping: return nil
        case .cacheSavingPercent:
            let without = try need(run.epochSeconds) * Double(run.experiment.training.epochs)
            return 100 * (1 - (try need(run.trainingSeconds)) / without)
        case .cachedEpochSavingPercent:
            return 100 * (1 - (try need(run.cachedEpochSeconds)) / (try need(run.epochSeconds)))
        case .redistributionPercent:
            return 100 * (try need(run.redistributionSeconds)) / (try need(run.trainingSeconds))
        }
    }

    private func need(_ seconds: Double?) throws -> Double {
        guard let seconds else {
            throw Failure.configuration(
                "\(rawValue): expected a number of samples (a GLUE task, task.train_limit, --samples, or \"samples\" of a "
                    + "column) and, for what is said of a cache, one that is enabled")
        }
        return seconds
    }
}
