import Plans

extension StageCosts {
    /// Costs under 1F1B, the schedule of tests that are not about schedules.
    package init(profile: Profile, memory: MemoryModel = MemoryModel()) {
        self.init(profile: profile, memory: memory, schedule: .oneForwardOneBackward)
    }
}
