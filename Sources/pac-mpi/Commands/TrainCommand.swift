import ArgumentParser
import MPI
import Reporting
import Training

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract:
            "Profile, plan, train the first epoch through the stages and the others from the cache, evaluate, save."
    )

    @OptionGroup var arguments: ExperimentArguments

    @Flag(help: "Write into the experiment's run directory even if it exists.")
    var overwrite = false

    func run() throws {
        try Program.inWorld { world in
            let isRoot = world.rank == 0
            let session = try Session(
                world: world, experimentPath: arguments.experiment, overrides: arguments.overrides,
                data: .trainAndValidation)
            let summary = try Trainer(session, overwrite: overwrite).run()
            guard isRoot else { return }
            if let metrics = summary.metrics {
                Output.line(
                    "validation: "
                        + metrics.values.map { "\($0.name) \(Format.fixed($0.value, 4))" }.joined(
                            separator: ", "))
            }
            Output.line("done in \(Format.duration(summary.seconds)). Saved in \(summary.directory):")
            Output.line("  adapter   \(summary.adapter)")
            Output.line("  metrics   \(summary.directory)/metrics.jsonl")
            Output.line("  plan      \(summary.directory)/plan.json")
            Output.line("  trace     \(summary.directory)/trace.json")
        }
    }
}
