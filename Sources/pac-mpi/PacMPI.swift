import ArgumentParser
import Cluster
import Training

/// The program: one binary on every device, started by `mpirun`.
struct PacMPI: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pac-mpi",
        abstract: "Fine-tunes a language model with Parallel Adapters on the computers of a home.",
        discussion: """
            Start it on every device with mpirun, which tells each copy its rank:

              mpirun -hostfile hostfiles/home.txt pac-mpi EXPERIMENT.json [--set key.path=value ...]

            Commands that need no other rank (plan, simulate, inspect, report, verify) run without mpirun as well.
            """,
        version: ProgramBuild.currentVersion,
        subcommands: [
            DoctorCommand.self, TrainCommand.self, ReplayCommand.self, ProfileCommand.self, PlanCommand.self,
            EvaluateCommand.self,
            PredictCommand.self,
            SimulateCommand.self, InspectCommand.self, ReportCommand.self, VerifyCommand.self,
        ],
        defaultSubcommand: TrainCommand.self)
}

/// The experiment and its overrides, as every command that trains or evaluates takes them.
struct ExperimentArguments: ParsableArguments {
    @Argument(help: "The experiment, a JSON file.", completion: .file(extensions: ["json"]))
    var experiment: String

    @Option(
        name: .customLong("set"), parsing: .singleValue,
        help: ArgumentHelp("Overrides one value of the experiment.", valueName: "key.path=value"))
    var overrides: [String] = []
}
