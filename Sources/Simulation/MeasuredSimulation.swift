import Configuration
import Plans
import Reporting
import Support

/// A mini-batch simulated from a measured profile: what a plan of this experiment takes on the devices that
/// were measured.
package struct MeasuredSimulation: Sendable {
    package let plan: Plan
    package let simulation: SimulatedStep
    private let profile: Profile

    /// Plans as `train` would, unless the experiment brings its plan, and plays one mini-batch.
    ///
    /// - Throws: when the profile is of another model, no plan is feasible, or the experiment's own does not
    ///   fit.
    package init(_ experiment: Experiment, _ profile: Profile) throws {
        try profile.check(experiment)
        let plan = try experiment.plan(from: profile)
        try plan.validate(
            layerCount: profile.layers.count, worldSize: profile.devices.count,
            miniBatchSize: experiment.training.miniBatchSize)
        self.plan = plan
        self.profile = profile
        let costs = experiment.stageCosts(profile)
        simulation = Simulator(profile: profile, costs: costs, schedule: costs.schedule).run(plan)
    }

    /// The plan, what each rank computes and holds, and the step, for a person.
    package var table: String {
        var table = Table([
            ("rank", .right), ("host", .left), ("stage", .right), ("samples", .right), ("computes", .right),
            ("idle", .right), ("memory", .right), ("budget", .right),
        ])
        for rank in simulation.ranks {
            let stage = plan.stages[rank.stage]
            let device = profile.devices[rank.rank]
            table.add([
                "\(rank.rank)", device.host, "\(rank.stage)",
                "\(stage.share[stage.ranks.firstIndex(of: rank.rank)!])", Format.duration(rank.busySeconds),
                Format.percent(simulation.bubbleFraction(rank)), Format.bytes(rank.peakBytes),
                device.memoryBudgetBytes.map(Format.bytes) ?? "none",
            ])
        }
        return
            "\(plan)\n\n\(table.text)\n\nmini-batch of \(plan.miniBatchSize): \(Format.duration(simulation.stepSeconds)), "
            + "idle \(Format.percent(simulation.bubbleFraction))"
    }

    package var json: JSONValue {
        .dictionary([
            ("plan", plan.json), ("step_seconds", JSONValue(simulation.stepSeconds)),
            ("bubble_fraction", JSONValue(simulation.bubbleFraction)),
            (
                "devices",
                .array(
                    simulation.ranks.map { rank in
                        .dictionary([
                            ("rank", JSONValue(rank.rank)), ("stage", JSONValue(rank.stage)),
                            ("busy_seconds", JSONValue(rank.busySeconds)),
                            ("bubble_fraction", JSONValue(simulation.bubbleFraction(rank))),
                            ("in_flight", JSONValue(rank.peakInFlightCount)),
                            ("peak_bytes", JSONValue(rank.peakBytes)),
                        ])
                    })
            ),
        ])
    }
}
