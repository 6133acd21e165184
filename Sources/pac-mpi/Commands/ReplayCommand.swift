import ArgumentParser
import MPI
import Reporting
import Support
import Training

struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Train new adapters from the cache that a run has kept; the model's weights are not read.",
        discussion: """
            The experiment is that of the run, with what --set changes of it: learning rate, epochs, seed, optimizer. The data
            and the tokenizer must be the same ones. --sweep trains once for each value, for all combinations of several
            sweeps, and ends with a table:

              mpirun -np 4 pac-mpi replay runs/home --sweep training.learning_rate=0.001,0.0003 --sweep training.seed=1,2
            """)

    @Argument(
        help: "The directory of a run whose cache was kept, or an experiment that names it.",
        completion: .directory)
    var source: String

    @Option(
        name: .customLong("set"), parsing: .singleValue,
        help: ArgumentHelp("Overrides one value of the experiment.", valueName: "key.path=value"))
    var overrides: [String] = []

    @Option(
        name: .customLong("sweep"), parsing: .singleValue,
        help: ArgumentHelp("Trains once for each value.", valueName: "key.path=value,value,..."))
    var sweeps: [String] = []

    @Flag(help: "Write into the replay's directory even if it exists.")
    var overwrite = false

    @Flag(help: "Print the table as JSON.")
    var json = false

    func validate() throws {
        for sweep in sweeps where !sweep.contains("=") {
            throw ValidationError("--sweep \(sweep): expected key.path=value,value,...")
        }
        if overwrite, settings.count > 1 {
            throw ValidationError(
                "--overwrite: expected one run to replace, found a sweep of \(settings.count)")
        }
    }

    /// Every combination of the swept values, as overrides.
    private var settings: [[String]] {
        sweeps.reduce([[]]) { combinations, sweep in
            let key = sweep.prefix { $0 != "=" }
            let values = sweep.dropFirst(key.count + 1).split(separator: ",")
            return combinations.flatMap { combination in values.map { combination + ["\(key)=\($0)"] } }
        }
    }

    func run() throws {
        try Program.inWorld(savesWhenEnded: true) { world in
            let rank = world.rank
            var outcomes: [Outcome] = []
            for setting in settings {
                // A run keeps its communicator; each gets one of its own, which messages call the world as well.
                let replay = try ReplayRun(
                    source, overrides: overrides + setting, overwrites: overwrite,
                    world: try world.duplicate(name: world.name))
                let summary = try replay.train()
                guard rank == 0 else { continue }
                outcomes.append(Outcome(setting: setting, summary: summary))
                if settings.count > 1 { Output.line("") }
            }
            guard rank == 0 else { return }
            Output.line(json ? table(outcomes).json : table(outcomes).text)
        }
    }

    private struct Outcome {
        let setting: [String]
        let summary: Trainer.Summary
    }

    private func table(_ outcomes: [Outcome]) -> (text: String, json: String) {
        let keys = sweeps.map { String($0.prefix { $0 != "=" }) }
        let metrics = outcomes.first?.summary.metrics?.values.map(\.name) ?? []
        var table = Table(
            keys.map { ($0, .right) } + metrics.map { ($0, .right) } + [
                ("time", .right), ("directory", .left),
            ])
        var rows: [JSONValue] = []
        for (setting, summary) in outcomes.map({ ($0.setting, $0.summary) }) {
            let values = setting.map { String($0.drop { $0 != "=" }.dropFirst()) }
            let measured = summary.metrics?.values ?? []
            table.add(
                values + measured.map { Format.fixed($0.value, 4) } + [
                    Format.duration(summary.seconds), summary.directory.path,
                ])
            rows.append(
                .dictionary(
                    zip(keys, values).map { ($0, .string($1)) } + [
                        ("metrics", summary.metrics?.json ?? .null), ("seconds", JSONValue(summary.seconds)),
                        ("directory", .string(summary.directory.path)),
                    ]))
        }
        return (table.text, JSONValue.array(rows).text())
    }
}
