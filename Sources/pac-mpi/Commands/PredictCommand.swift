import ArgumentParser
import MPI
import Reporting
import Stages
import Support
import Training

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

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

    @Option(help: "How freely a text is written: 0 takes the most probable token.")
    var temperature = 0.0

    @Option(help: "Draw from the most probable tokens that together have this probability.")
    var topP = 1.0

    @Option(help: "The seed of what is drawn.")
    var seed = 0

    @Option(help: "The most tokens of a text; otherwise somewhat more than the longest that was trained on.")
    var maxTokens: Int?

    func validate() throws {
        guard (0...100).contains(temperature) else {
            throw ValidationError("--temperature: expected a number from 0 to 100, found \(temperature)")
        }
        guard topP > 0, topP <= 1 else {
            throw ValidationError("--top-p: expected a number above 0 and up to 1, found \(topP)")
        }
        guard seed >= 0 else { throw ValidationError("--seed: expected 0 or more, found \(seed)") }
        guard maxTokens.map({ (1...1 << 20).contains($0) }) ?? true else {
            throw ValidationError("--max-tokens: expected at least 1, found \(maxTokens!)")
        }
        guard text.isEmpty != (input == nil) else { throw ValidationError("Give either --text or --input.") }
        guard text.count <= 2 else { throw ValidationError("Give --text once, or twice for a pair.") }
    }

    func run() throws {
        try Program.inWorld { world in
            let runner = try AdapterRunner(
                world: world, experimentPath: arguments.experiment, overrides: arguments.overrides,
                adapterPath: adapter, data: .none)
            let decoding = Decoding(
                temperature: temperature, topP: topP, seed: UInt64(seed), maximumTokens: maxTokens)
            // A person sees the text as it is written; a program reads a line of JSON.
            guard input == nil, runner.writesText, Terminal.isWatched else {
                for line in try runner.predict(text: text, input: input, decoding: decoding) {
                    Output.line(line.text())
                }
                return
            }
            _ = try runner.predict(text: text, input: nil, decoding: decoding) {
                Output.write($0, to: STDOUT_FILENO)
            }
            if Program.speaks { Output.line("") }
        }
    }
}
