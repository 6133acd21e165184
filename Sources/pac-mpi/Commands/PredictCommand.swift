import ArgumentParser
import MPI
import Support
import Training

struct PredictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "predict",
        abstract: "Predict with a saved adapter: one JSON line for each text, with the prediction.")

    @OptionGroup var arguments: ExperimentArguments

    @Option(help: "The adapter's directory.")
    var adapter: String

    @Option(help: "A text to predict. Repeat it for the second text of a task with two.")
    var text: [String] = []

    @Option(help: "A file with one row a line in the task's format; labels are not needed.")
    var input: String?

    func validate() throws {
        guard text.isEmpty != (input == nil) else { throw ValidationError("Give either --text or --input.") }
        guard text.count <= 2 else { throw ValidationError("Give --text once, or twice for a pair.") }
    }

    func run() throws {
        try Program.inWorld { world in
            let runner = try AdapterRunner(
                world: world, experimentPath: arguments.experiment, overrides: arguments.overrides,
                adapterPath: adapter, data: .none)
            for line in try runner.predict(text: text, input: input) { Output.line(line.text()) }
        }
    }
}
