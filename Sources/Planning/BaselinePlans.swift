import Plans

/// The systems that the paper compares with, as plans for the same runtime.
///
/// Each throws a configuration failure when it does not fit the memory budgets, as the baseline itself would run out of
/// memory. With no micro-batch count, the fastest divisor of the mini-batch size is taken.
package enum BaselinePlans {
    /// Standalone: rank 0 alone, one stage.
    package static func standalone(
        profile: Profile, miniBatchSize: Int, microBatchCount: Int?, memory: MemoryModel = MemoryModel(),
        schedule: PipelineSchedule
    ) throws -> Plan {
        try Planner(profile: profile, memory: memory, schedule: schedule, freedom: .givenOrder).plan(
            miniBatchSize: miniBatchSize, microBatchCount: microBatchCount, ranks: [0])
    }

    /// EDDL: data parallelism only, one stage on all ranks.
    package static func eddl(
        profile: Profile, miniBatchSize: Int, microBatchCount: Int?, memory: MemoryModel = MemoryModel(),
        schedule: PipelineSchedule
    ) throws -> Plan {
        try Planner(profile: profile, memory: memory, schedule: schedule, freedom: .givenOrder).plan(
            miniBatchSize: miniBatchSize, microBatchCount: microBatchCount, stageCounts: 1...1)
    }

    /// Eco-FL: pipeline parallelism only, a stage for each rank, balanced by the recursion of eq. (2).
    package static func ecoFL(
        profile: Profile, miniBatchSize: Int, microBatchCount: Int?, memory: MemoryModel = MemoryModel(),
        schedule: PipelineSchedule
    ) throws -> Plan {
        let rankCount = profile.devices.count
        return try Planner(profile: profile, memory: memory, schedule: schedule, freedom: .givenOrder).plan(
            miniBatchSize: miniBatchSize, microBatchCount: microBatchCount, stageCounts: rankCount...rankCount
        )
    }
}
