import Planning
import Plans
import Support

/// The plan of a run, as far as no rank is asked: from a profile, or as a person wrote it.
extension Experiment {
    /// What stages of a run cost.
    package func stageCosts(_ profile: Profile) -> StageCosts {
        StageCosts(profile: profile, memory: memoryModel(profile), schedule: pipelineSchedule)
    }

    /// The memory of this program under the run's optimizer.
    private func memoryModel(_ profile: Profile?) -> MemoryModel {
        MemoryModel(
            optimizerStateMultiple: training.optimizer == .adamw ? 2 : 0,
            fillsCache: fillsCache(sampleCount: profile?.sampleCount))
    }

    /// Plans with the experiment's planner.
    ///
    /// - Returns: the plan, or the failure that says why none is feasible.
    /// - Throws: when a budget names a host that the profile does not have.
    package func search(_ profile: Profile) throws -> Result<Plan, Failure> {
        try Planner(
            kind: parallelism.planner, profile: budgeted(profile), memory: memoryModel(profile),
            schedule: pipelineSchedule
        ).search(miniBatchSize: training.miniBatchSize, microBatchCount: training.microBatchCount)
    }

    /// The plan of the run's system, from a profile, or the one that the experiment brings.
    ///
    /// - Parameter profile: nil for the system `plan`, which needs none.
    /// - Throws: when no plan is feasible, or a budget names a host that the profile does not have.
    package func plan(from profile: Profile?) throws -> Plan {
        switch parallelism.system {
        case .plan: try Plan(parallelism.plan!, miniBatchSize: training.miniBatchSize)
        case .pac: try search(profile!).get()
        case .standalone: try baseline(BaselinePlans.standalone, profile!)
        case .eddl: try baseline(BaselinePlans.eddl, profile!)
        case .ecoFL: try baseline(BaselinePlans.ecoFL, profile!)
        }
    }

    private typealias Baseline = (Profile, Int, Int?, MemoryModel, PipelineSchedule) throws -> Plan

    private func baseline(_ plan: Baseline, _ profile: Profile) throws -> Plan {
        try plan(
            budgeted(profile), training.miniBatchSize, training.microBatchCount, memoryModel(profile),
            pipelineSchedule)
    }

    /// A profile under the run's budgets; what was free bounds a device that has none.
    private func budgeted(_ profile: Profile) throws -> Profile {
        try profile.with(memoryBudget: device.memoryBudget).withinMemory()
    }
}

extension Profile {
    /// The profile with the experiment's memory budgets in place of those it was measured under; nil keeps them.
    fileprivate func with(memoryBudget: ByteBudget?) throws -> Profile {
        guard let memoryBudget else { return self }
        try memoryBudget.check(devices.map(\.host), key: "device.memory_budget_bytes")
        let budgeted = devices.map { device in
            var device = device
            device.memoryBudgetBytes = memoryBudget.bytes(onHost: device.host)
            return device
        }
        return try Profile(
            devices: budgeted, layers: layers, links: links, meanTokens: meanTokens,
            sampleCount: sampleCount, peakTokens: peakTokens)
    }

    /// The profile with a budget for every device that has none: its part of what was free on its host, less a fifth for
    /// what the program does not count. A plan that needs more would end with the kernel killing somebody.
    fileprivate func withinMemory() throws -> Profile {
        let bounded = devices.map { device in
            var device = device
            let sharing = devices.filter { $0.host == device.host }.count
            if device.memoryBudgetBytes == nil {
                device.memoryBudgetBytes = max(1, device.memoryBytes / sharing / 5 * 4)
            }
            return device
        }
        return try Profile(
            devices: bounded, layers: layers, links: links, meanTokens: meanTokens, sampleCount: sampleCount,
            peakTokens: peakTokens)
    }
}
