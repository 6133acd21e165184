import Cluster
import Models
import Plans
import Reporting
import Stages
import Support
import TensorCore
import TextData

/// What a run says of itself before it starts: the ranks, the plan, the model and the data.
struct RunHeader {
    let session: Session
    let choice: PlanChooser.Choice
    let hosts: [HostDescription]
    let directory: RunDirectory

    /// Scalars of the whole model, each tensor once: those that are trained, and all.
    private func parameterCounts() throws -> (trainable: Int, total: Int) {
        let (trainable, frozen) = try StageModel.inventory(
            session.model.family, session.model.configuration, steps: session.model.allSteps)
        let count = trainable.reduce(0) { $0 + $1.count }
        return (count, frozen.reduce(count) { $0 + $1.count })
    }

    /// Writes the header through the reporter and, of a new run, the `start` event.
    func write(_ reporter: RunReporter, isNew: Bool) throws {
        let family = session.model.family
        let (trainable, total) = try parameterCounts()
        if directory.isRenamed, isNew {
            reporter.note(
                "\(session.experiment.output.directory) exists; this run goes to \(directory.path) (--overwrite replaces it)"
            )
        }
        var table = Table([
            ("rank", .right), ("host", .left), ("cores", .right), ("threads", .right), ("memory", .right),
            ("BLAS", .left), ("stage", .right), ("layers", .left), ("share", .right),
        ])
        for (rank, host) in hosts.enumerated() {
            let place = Placement(choice.plan, rank: rank)
            table.add([
                "\(rank)", host.host, "\(host.coreCount)", "\(host.threadCount)",
                Format.bytes(host.availableMemoryBytes), host.blasCore,
                place.map { "\($0.stageIndex)" } ?? "-",
                place.map { "\($0.stage.layers.lowerBound)-\($0.stage.layers.upperBound - 1)" }
                    ?? "cached epochs only",
                place.map { "\($0.stage.share[$0.position])/\(choice.plan.microBatchSize)" } ?? "-",
            ])
        }
        reporter.note(table.text)
        for warning in HostDescription.warnings(hosts) { reporter.note("warning: \(warning)") }
        reporter.note(
            "\(family.name) model \(session.experiment.model.path): \(family.plannerLayers.count) layers, "
                + "\(Format.count(trainable)) of \(Format.count(total)) parameters are trained "
                + "(\(Format.percent(Double(trainable) / Double(total))))")
        let train = session.data.train!.dataset
        reporter.note(
            "\(train.count) training and \(session.data.validation?.count ?? 0) validation samples, "
                + "\(train.truncatedCount + (session.data.validation?.dataset.truncatedCount ?? 0)) truncated; first: "
                + (session.data.task?.preview(train) ?? ""))
        if let profile = choice.profile,
            let shortage = session.experiment.stageCosts(profile).cachedMemoryShortage(
                of: choice.plan)
        {
            reporter.note("warning: \(shortage)")
        }
        if let predicted = choice.plan.predicted {
            let step = Format.duration(predicted.meanStepSeconds ?? predicted.stepSeconds)
            // What a planner compares is the time of a step through all stages.
            let isStreaming = session.experiment.parallelism.firstPass == .streaming
            reporter.note(
                "plan: \(choice.plan.stages.count) stage(s), \(choice.plan.microBatchCount) micro-batch(es) of "
                    + "\(choice.plan.microBatchSize); predicted \(step) a step with the backbone"
                    + (isStreaming ? " if it did not stream" : "")
            )
        }
        guard isNew else { return }
        try reporter.event(
            .start,
            [
                ("ranks", JSONValue(hosts.count)), ("hosts", .array(hosts.map { .string($0.host) })),
                ("trainable_parameters", JSONValue(trainable)), ("total_parameters", JSONValue(total)),
                ("model_hash", .string(session.model.files.fingerprint)),
            ])
    }
}
