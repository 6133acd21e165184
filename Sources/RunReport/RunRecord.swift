import Configuration
import Plans
import Reporting
import Support

/// What a run left in its directory, read back and checked to belong together.
struct RunRecord {
    let directory: String
    let experiment: Experiment
    let plan: Plan
    /// nil when the experiment brought its own plan.
    let profile: Profile?
    let history: MetricsHistory
    let measured: TraceGroup
    /// What was expected of one mini-batch, where the trace has it.
    let predicted: TraceGroup?

    /// Reads a run directory.
    ///
    /// - Throws: a configuration failure that names the file that is missing, damaged or of another run.
    init(_ directory: String) throws {
        self.directory = directory
        func document(_ file: RunFile) throws -> JSONReader {
            try JSONReader(contentsOf: file.path(in: directory))
        }
        experiment = try Experiment(document(.experiment))
        plan = try Plan(document(.plan), miniBatchSize: experiment.training.miniBatchSize)
        profile =
            fileExists(RunFile.profile.path(in: directory)) ? try Profile(document(.profile)) : nil
        history = try MetricsHistory(contentsOf: RunFile.metrics.path(in: directory))
        let trace = try TraceFile.read(RunFile.trace.path(in: directory))
        guard let measured = trace.first(where: { $0.origin == .measured }) else {
            throw Failure.configuration("\(directory)/trace.json: expected what ranks did, found no rank")
        }
        self.measured = measured
        predicted = trace.first { $0.origin == .predicted }
        try checkRanks()
    }

    private func checkRanks() throws {
        let ranks = history.start.ranks
        func check(_ file: String, _ found: Int?) throws {
            guard let found, found >= ranks else { return }
            throw Failure.configuration(
                "\(directory)/\(file): expected ranks from 0 to \(ranks - 1), as in metrics.jsonl, found \(found)"
            )
        }
        try check("plan.json", plan.stages.flatMap(\.ranks).max())
        try check("trace.json", measured.ranks.max())
        try check("trace.json", predicted?.ranks.max())
        try check("metrics.jsonl", history.memory.map(\.rank).max())
        if let profile, profile.devices.count != ranks {
            throw Failure.configuration(
                "\(directory)/profile.json: expected \(ranks) devices, as metrics.jsonl has ranks, found "
                    + "\(profile.devices.count)")
        }
        if let predicted = plan.predicted, predicted.stages.count != plan.stages.count {
            throw Failure.configuration(
                "\(directory)/plan.json: predicted.stages: expected \(plan.stages.count), as there are stages, "
                    + "found \(predicted.stages.count)")
        }
    }

    /// A rank's budget in bytes; nil for no limit.
    func memoryBudget(rank: Int) -> Int? {
        experiment.device.memoryBudget?.bytes(onHost: history.start.hosts[rank])
    }

    /// What the planner expected a rank to need with the backbone.
    func predictedMemory(rank: Int) -> Int? {
        guard let predicted = plan.predicted, let stage = plan.stageIndex(ofRank: rank),
            let position = plan.stages[stage].ranks.firstIndex(of: rank),
            position < predicted.stages[stage].memoryBytes.count
        else { return nil }
        return predicted.stages[stage].memoryBytes[position]
    }

    /// Steps of a phase that were traced, without the first one of several, which starts caches and memory.
    func tracedSteps(_ phase: TrainingPhase) -> [Int] {
        let traced = Set(measured.spans.filter { $0.category == .step }.compactMap(\.arguments.step))
        let steps = history.steps.filter { $0.phase == phase && traced.contains($0.step) }.map(\.step)
        return steps.count > 1 ? Array(steps.dropFirst()) : steps
    }

    /// What the ranks did in a step.
    func spans(step: Int) -> [TraceSpan] { measured.spans.filter { $0.arguments.step == step } }
}

extension TrainingPhase {
    /// As a person calls it.
    var title: String {
        switch self {
        case .pipeline: "with the backbone"
        case .cached: "from the cache"
        }
    }
}
