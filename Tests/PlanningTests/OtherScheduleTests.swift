import PlanExamples
import Planning
import Plans
import Support
import Testing

@Suite("Planner under another schedule")
struct OtherScheduleTests {
    @Test(
        "plans fit what that schedule holds, and are priced by it",
        arguments: [Planner.Freedom.all, .givenOrder])
    func plansFit(freedom: Planner.Freedom) throws {
        let schedule = PipelineSchedule.allForwardAllBackward
        var (found, tooLarge) = (0, 0)
        for seed in 0..<UInt64(60) {
            let profile = try Profiles.random(seed: seed, layerCount: 6, deviceCount: 3, savedBytes: 2000)
            let costs = StageCosts(profile: profile, schedule: schedule)
            let usual = Planner(profile: profile, freedom: freedom)
            if let plan = try? usual.plan(miniBatchSize: 8, microBatchCount: 8),
                costs.memoryShortage(of: plan) != nil
            {
                tooLarge += 1
            }
            let planner = Planner(profile: profile, schedule: schedule, freedom: freedom)
            guard case .success(let plan) = try planner.search(miniBatchSize: 8, microBatchCount: 8) else {
                continue
            }
            found += 1
            #expect(costs.memoryShortage(of: plan) == nil, "seed \(seed)")
            #expect(
                plan.predicted?.stepSeconds
                    == schedule.stepSeconds(costs.predictions(of: plan), microBatchCount: 8))
        }
        #expect(found > 10)
        // What fits under 1F1B need not fit with every micro-batch in flight.
        #expect(tooLarge > 0)
    }
}
