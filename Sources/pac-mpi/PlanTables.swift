import Plans
import Reporting
import Support

extension Profile {
    /// The profile for a person: the layers with their times on every device, then the links.
    package var table: String {
        var layersTable = Table(
            [("layer", .right), ("name", .left), ("parameters", .right), ("trained", .right)]
                + devices.map { ("rank \($0.rank) forward", .right) }
                + devices.map { ("rank \($0.rank) backward", .right) })
        for (index, layer) in layers.enumerated() {
            layersTable.add(
                [
                    "\(index)", layer.name, Format.bytes(layer.parameterBytes),
                    Format.bytes(layer.trainableBytes),
                ]
                    + devices.map { milliseconds(forwardSeconds(device: $0.rank, layer: index, samples: 1)) }
                    + devices.map { milliseconds(backwardSeconds(device: $0.rank, layer: index, samples: 1)) }
            )
        }
        var linksTable = Table([("link", .left), ("bandwidth", .right), ("latency", .right)])
        for link in links {
            linksTable.add([
                "\(link.ranks.0) - \(link.ranks.1)", Format.bytes(Int(link.bandwidth)) + "/s",
                Format.fixed(link.latencySeconds * 1e6, 0) + " us",
            ])
        }
        return layersTable.text
            + "\ntimes of one sample of mean length (\(Format.fixed(meanTokens.source, 1)) tokens)"
            + (links.isEmpty ? "" : "\n\n" + linksTable.text)
    }
}

extension Plan {
    /// The plan for a person: its stages with what was predicted of each, and how the alternatives did.
    package func table(_ profile: Profile) -> String {
        var text =
            "planner layers: "
            + profile.layers.enumerated().map { "\($0) \($1.name)" }.joined(separator: ", ") + "\n\n"
        var table = Table([
            ("stage", .right), ("layers", .left), ("ranks", .left), ("shares", .left), ("forward", .right),
            ("backward", .right), ("all-reduce", .right), ("memory", .right),
        ])
        for (index, stage) in stages.enumerated() {
            let predicted = self.predicted?.stages[index]
            table.add([
                "\(index)", "\(stage.layers.lowerBound)-\(stage.layers.upperBound - 1)",
                stage.ranks.map(String.init).joined(separator: ", "),
                stage.share.map(String.init).joined(separator: ", "),
                predicted.map { milliseconds($0.forwardSeconds) } ?? "",
                predicted.map { milliseconds($0.backwardSeconds) } ?? "",
                predicted.map { milliseconds($0.allReduceSeconds) } ?? "",
                predicted.map { Format.bytes($0.memoryBytes.max() ?? 0) } ?? "",
            ])
        }
        text += table.text + "\n\(microBatchCount) micro-batch(es) of \(microBatchSize) samples a mini-batch"
        guard let predicted else { return text }
        text +=
            "; \(milliseconds(predicted.stepSeconds)) a step by the \(predicted.planner.rawValue) planner's estimate\n"
        for candidate in predicted.considered {
            text += line("\(candidate.stageCount) stage(s)", candidate.outcome)
        }
        if !predicted.alternatives.isEmpty { text += "instead of that:\n" }
        for alternative in predicted.alternatives { text += line(alternative.name, alternative.outcome) }
        return text
    }

    /// How one of the plans that were considered did.
    private func line(_ name: String, _ outcome: PlanCandidate.Outcome) -> String {
        switch outcome {
        case .feasible(let count, let seconds, _):
            "  \(name): \(milliseconds(seconds)) with \(count) micro-batch(es)\n"
        case .infeasible(let reason): "  \(name): infeasible: \(reason)\n"
        }
    }
}

extension Forecast {
    /// Memory and disk of each device, then the times, for a person.
    package var table: String {
        let caches = cachedEpochSeconds != nil
        var table = Table(
            [("rank", .right), ("stage", .right), ("memory", .right)]
                + (caches
                    ? [("memory, later", .right), ("disk, epoch 1", .right), ("disk, later", .right)] : []))
        for device in devices {
            table.add(
                ["\(device.rank)", device.stage.map(String.init) ?? "-", Format.bytes(device.memoryBytes)]
                    + (caches
                        ? [
                            Format.bytes(device.cachedMemoryBytes), Format.bytes(Int(device.firstDiskBytes)),
                            Format.bytes(Int(device.cachedDiskBytes)),
                        ] : []))
        }
        let first =
            streamSeconds.map { "the frozen model over all samples \(Format.duration($0))" }
            ?? "an epoch with the backbone \(Format.duration(epochSeconds))"
        let cached = streamSeconds == nil ? "one from the cache" : "an epoch from the cache"
        return table.text + "\n" + first
            + (cachedEpochSeconds.map { ", \(cached) at least \(Format.duration($0))" } ?? "")
            + "; all of them \(Format.duration(totalSeconds))"
    }
}

private func milliseconds(_ seconds: Double) -> String { Format.milliseconds(seconds) }
