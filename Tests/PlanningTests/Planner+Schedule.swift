import Planning
import Plans

extension Planner {
    /// A planner under 1F1B, the schedule of tests that are not about schedules.
    init(
        kind: PlannerKind = .exact, profile: Profile, memory: MemoryModel = MemoryModel(),
        freedom: Freedom = .all
    ) {
        self.init(
            kind: kind, profile: profile, memory: memory, schedule: .oneForwardOneBackward, freedom: freedom)
    }
}

extension BaselinePlans {
    static func standalone(
        profile: Profile, miniBatchSize: Int, microBatchCount: Int?, memory: MemoryModel = MemoryModel()
    ) throws -> Plan {
        try standalone(
            profile: profile, miniBatchSize: miniBatchSize, microBatchCount: microBatchCount, memory: memory,
            schedule: .oneForwardOneBackward)
    }

    static func eddl(
        profile: Profile, miniBatchSize: Int, microBatchCount: Int?, memory: MemoryModel = MemoryModel()
    ) throws -> Plan {
        try eddl(
            profile: profile, miniBatchSize: miniBatchSize, microBatchCount: microBatchCount, memory: memory,
            schedule: .oneForwardOneBackward)
    }

    static func ecoFL(
        profile: Profile, miniBatchSize: Int, microBatchCount: Int?, memory: MemoryModel = MemoryModel()
    ) throws -> Plan {
        try ecoFL(
            profile: profile, miniBatchSize: miniBatchSize, microBatchCount: microBatchCount, memory: memory,
            schedule: .oneForwardOneBackward)
    }
}
