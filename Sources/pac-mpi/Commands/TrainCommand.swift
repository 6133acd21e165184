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

    @Flag(help: "Go on where the last run of this experiment stopped.")
    var resume = false

    func validate() throws {
        if overwrite, resume {
            throw ValidationError("--overwrite and --resume: expected one of them, found both")
        }
    }

    func run() throws {
        try Program.inWorld(savesWhenEnded: true) { world in
            let isRoot = world.rank == 0
            let session = try Session(
                world: world, experimentPath: arguments.experiment, overrides: arguments.overrides,
                data: .trainAndValidation)
            let summary = try Trainer(session, overwrite ? .overwrite : resume ? .resume : .new).train()
            guard isRoot else { return }
            if let metrics = summary.metrics {
                Output.line(
                    "validation: "
                        + metrics.values.map { "\($0.name) \(Format.fixed($0.value, 4))" }.joined(
                            separator: ", "))
            }
            let directory = summary.directory
            Output.line("done in \(Format.duration(summary.seconds)). Saved in \(directory.path):")
            Output.line("  adapter   \(directory.adapterPath)")
            Output.line("  metrics   \(directory.metricsPath)")
            Output.line("  plan      \(directory.planPath)")
            Output.line("  trace     \(directory.tracePath)")
        }
    }
}
