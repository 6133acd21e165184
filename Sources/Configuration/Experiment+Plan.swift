import Planning
import Plans

/// The plan of a run, as far as no rank is asked: from a profile, or as a person wrote it.
extension Experiment {
    /// What stages of a run cost.
    package func stageCosts(_ profile: Profile) -> StageCosts {
        StageCosts(profile: profile, memory: memoryModel(profile))
    }

    /// The memory of this program under the run's optimizer.
    private func memoryModel(_ profile: Profile?) -> MemoryModel {
        MemoryModel(
            optimizerStateMultiple: training.optimizer == .adamw ? 2 : 0,
            fillsCache: fillsCache(sampleCount: profile?.sampleCount))
    }

    /// The plan of the run's system, from a profile, or the one that the experiment brings.
    ///
    /// - Parameter profile: nil for the system `plan`, which needs none.
    /// - Throws: when no plan is feasible, or a budget names a host that the profile does not have.
    package func plan(from profile: Profile?) throws -> Plan {
        let profile = try profile.map { try $0.with(memoryBudget: device.memoryBudget).withinMemory() }
        let (size, count) = (training.miniBatchSize, training.microBatchCount)
        let memory = memoryModel(profile)
        switch parallelism.system {
        case .plan:
            return try Plan(parallelism.plan!, miniBatchSize: size)
        case .pac:
            return try Planner(kind: parallelism.planner, profile: profile!, memory: memory).plan(
                miniBatchSize: size, microBatchCount: count)
        case .standalone:
            return try BaselinePlans.standalone(
                profile: profile!, miniBatchSize: size, microBatchCount: count, memory: memory)
        case .eddl:
            return try BaselinePlans.eddl(
                profile: profile!, miniBatchSize: size, microBatchCount: count, memory: memory)
        case .ecoFL:
            return try BaselinePlans.ecoFL(
                profile: profile!, miniBatchSize: size, microBatchCount: count, memory: memory)
        }
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
