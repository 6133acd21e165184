import ArgumentParser
import MPI
import Reporting
import Support
import Training

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate", abstract: "Measure a saved adapter on the validation data.")

    @OptionGroup var arguments: ExperimentArguments

    @Option(help: "The adapter's directory.")
    var adapter: String

    @Flag(help: "Print the metrics as JSON.")
    var json = false

    func run() throws {
        try Program.inWorld { world in
            let evaluator = try AdapterRunner(
                world: world, experimentPath: arguments.experiment, overrides: arguments.overrides,
                adapterPath: adapter, data: .validation)
            guard let (metrics, count) = try evaluator.evaluate() else { return }
            if json {
                Output.line(metrics.json.text())
            } else {
                Output.line(
                    metrics.values.map { "\($0.name) \(Format.fixed($0.value, 4))" }.joined(separator: ", ")
                        + " on \(count) samples")
            }
        }
    }
}
