import ArgumentParser
import Configuration
import Plans
import Support
import Training

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Choose stages, ranks and micro-batches from a profile. Needs no mpirun.")

    @OptionGroup var arguments: ExperimentArguments

    @Option(help: "What `pac-mpi profile` wrote.")
    var profile: String

    @Option(help: "Write the plan to a file that parallelism.plan accepts.")
    var out: String?

    @Flag(help: "Print the plan as JSON instead of a table.")
    var json = false

    func run() throws {
        guard Program.speaks else { return }
        let experiment = try Experiment(contentsOf: arguments.experiment, overrides: arguments.overrides)
        let profile = try Profile(JSONReader(contentsOf: profile))
        try profile.check(experiment)
        let plan = try experiment.plan(from: profile)
        try plan.validate(
            layerCount: profile.layers.count, worldSize: profile.devices.count,
            miniBatchSize: experiment.training.miniBatchSize)
        if let out { try writeFileAtomically(plan.json.text(indented: true) + "\n", to: out) }
        guard !json else { return Output.line(plan.json.text(indented: true)) }
        Output.line(plan.table(profile))
        let costs = experiment.stageCosts(profile)
        let forecast = Forecast(
            plan, costs, epochs: experiment.training.epochs,
            streams: experiment.parallelism.firstPass == .streaming,
            cachedNumberBytes: experiment.cache.precision.byteCount)
        if let forecast {
            Output.line("\n" + forecast.table)
        }
        if let shortage = costs.cachedMemoryShortage(of: plan) { Output.line("warning: \(shortage)") }
    }
}
