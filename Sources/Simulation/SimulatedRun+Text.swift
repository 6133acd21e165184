import Plans
import Reporting
import Support

extension SimulatedRun {
    /// The run for a person: the plan, each device's memory and idle share, and the times.
    package var table: String {
        var table = Table([
            ("stage", .right), ("layers", .left), ("device", .left), ("samples", .right),
            ("computes", .right),
            ("idle", .right), ("memory", .right), ("budget", .right),
        ])
        for rank in simulation.ranks {
            let stage = plan.stages[rank.stage]
            let share = Double(stage.share[stage.ranks.firstIndex(of: rank.rank)!]) / Double(partsPerSample)
            table.add([
                "\(rank.stage)", "\(stage.layers.lowerBound)-\(stage.layers.upperBound - 1)",
                "\(rank.rank) \(cluster.devices[rank.rank].name)",
                Format.fixed(share, partsPerSample > 1 ? 2 : 0), Format.duration(rank.busySeconds),
                Format.percent(simulation.bubbleFraction(rank)), Format.bytes(rank.peakBytes),
                cluster.devices[rank.rank].memoryBudgetBytes.map(Format.bytes) ?? "none",
            ])
        }
        let count = plan.microBatchCount
        let size = Double(plan.microBatchSize) / Double(partsPerSample)
        var lines = [
            table.text, "",
            "\(plan.stages.count) stage(s) \(grouping), \(count) micro-batch(es) of \(Format.fixed(size, size.rounded() == size ? 0 : 2)) samples"
                + (rounds > 1 ? ", \(rounds) rounds a mini-batch" : ""),
            "mini-batch of \(miniBatchSize): \(Format.duration(stepSeconds)), "
                + "\(Format.rate(Double(miniBatchSize) / stepSeconds, "samples")), idle \(Format.percent(simulation.bubbleFraction))",
        ]
        if usesCache {
            lines.append(
                "from the cache: \(Format.duration(cachedStepSeconds)) a mini-batch, \(Format.bytes(cachedPeakBytes)) a device"
            )
        }
        if let sampleCount, let epochSeconds, let trainingSeconds {
            var text = "\(Format.count(sampleCount)) samples: \(Format.duration(epochSeconds)) an epoch"
            if let cachedEpochSeconds, let redistributionSeconds {
                text +=
                    ", \(Format.duration(cachedEpochSeconds)) from the cache after "
                    + "\(Format.duration(redistributionSeconds)) of moving it"
            }
            lines += [text, "\(experiment.training.epochs) epoch(s): \(Format.duration(trainingSeconds))"]
        } else {
            lines.append("no times of epochs: nothing says how many samples there are (--samples)")
        }
        return lines.joined(separator: "\n")
    }

    package var json: JSONValue {
        func seconds(_ value: Double?) -> JSONValue { value.map { JSONValue($0) } ?? .null }
        return .dictionary([
            ("outcome", "completed"), ("plan", plan.json), ("rounds", JSONValue(rounds)),
            ("parts_per_sample", JSONValue(partsPerSample)), ("step_seconds", JSONValue(stepSeconds)),
            ("bubble_fraction", JSONValue(simulation.bubbleFraction)),
            ("epoch_seconds", seconds(epochSeconds)),
            ("cached_step_seconds", usesCache ? JSONValue(cachedStepSeconds) : .null),
            ("cached_epoch_seconds", seconds(cachedEpochSeconds)),
            ("cached_peak_bytes", usesCache ? JSONValue(cachedPeakBytes) : .null),
            ("redistribution_seconds", seconds(redistributionSeconds)),
            ("training_seconds", seconds(trainingSeconds)),
            (
                "devices",
                .array(
                    simulation.ranks.map { rank in
                        .dictionary([
                            ("rank", JSONValue(rank.rank)),
                            ("name", .string(cluster.devices[rank.rank].name)),
                            ("stage", JSONValue(rank.stage)), ("busy_seconds", JSONValue(rank.busySeconds)),
                            ("bubble_fraction", JSONValue(simulation.bubbleFraction(rank))),
                            ("in_flight", JSONValue(rank.peakInFlightCount)),
                            ("peak_bytes", JSONValue(rank.peakBytes)),
                        ])
                    })
            ),
        ])
    }
}
