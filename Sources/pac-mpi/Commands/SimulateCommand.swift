import ArgumentParser
import Configuration
import Plans
import Reporting
import Simulation
import Support
import Training

struct SimulateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Say what training would take on a cluster that a file describes. Needs no mpirun.",
        discussion: """
            With an experiment and --cluster: its plan, times and memory; exits with 1 when it runs out of memory.
            With an experiment and --profile: one mini-batch on the devices that were measured.
            With a table file, such as experiments/paper/table2/table.json: every cell beside the published value, written
            as comparison.md and comparison.json beside the file.
            """)

    @OptionGroup var arguments: ExperimentArguments

    @Option(help: "The cluster, a JSON file.")
    var cluster: String?

    @Option(help: "What `pac-mpi profile` wrote, in place of a cluster.")
    var profile: String?

    @Option(help: "Write the simulated mini-batch as a trace, for Perfetto.")
    var trace: String?

    @Option(help: "Samples of the training set, for times of epochs; known for GLUE.")
    var samples: Int?

    @Option(help: "Tokens that a decoder reads of each target.")
    var targetTokens = AnalyticConstants.targetTokens

    @Option(help: "Write the result as JSON to a file.")
    var out: String?

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        if let samples, samples < 1 {
            throw ValidationError("--samples: expected at least 1, found \(samples)")
        }
        if targetTokens < 1 {
            throw ValidationError("--target-tokens: expected at least 1, found \(targetTokens)")
        }
    }

    func run() throws {
        guard Program.speaks else { return }
        let path = arguments.experiment
        let document = try JSONValue(contentsOf: path)
        if SimulationTable.describes(document) {
            try simulateTable(document, path)
        } else {
            try simulateExperiment(path)
        }
    }

    private func simulateTable(_ document: JSONValue, _ path: String) throws {
        guard cluster == nil, profile == nil, trace == nil, samples == nil, arguments.overrides.isEmpty else {
            throw Failure.configuration(
                "\(path): expected no --cluster, --profile, --trace, --samples or --set with a table file, which has its own"
            )
        }
        let comparison = try TableSimulation(SimulationTable(JSONReader(document, file: path))).run()
        let text = comparison.json.text(indented: true) + "\n"
        if let out {
            try writeFileAtomically(text, to: out)
        } else {
            let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
                separator: "/")
            let prefix = folder.isEmpty ? (path.hasPrefix("/") ? "/" : "") : folder + "/"
            try writeFileAtomically(comparison.markdown, to: prefix + "comparison.md")
            try writeFileAtomically(text, to: prefix + "comparison.json")
        }
        Output.write(json ? text : comparison.markdown, to: 1)
    }

    private func simulateExperiment(_ path: String) throws {
        guard (cluster == nil) != (profile == nil) else {
            throw Failure.configuration(
                "\(path): expected --cluster CLUSTER.json or --profile profile.json, as the file is an experiment and not a "
                    + "table")
        }
        let experiment = try Experiment(contentsOf: path, overrides: arguments.overrides)
        if let profile {
            let measured = try MeasuredSimulation(
                experiment, Profile(JSONReader(contentsOf: profile)))
            return try finish(measured.json, measured.table, measured.simulation)
        }
        let cluster = cluster!  // one of the two is there
        let simulation = try ExperimentSimulation(
            experiment, cluster: try SimulatedCluster(JSONReader(contentsOf: cluster)),
            reading: .init(targetTokens: targetTokens, sampleCount: samples))
        switch try simulation.run() {
        case .completed(let run):
            try finish(run.json, run.table, run.simulation)
        case .outOfMemory(let reason):
            let outcome: JSONValue = .dictionary([("outcome", "out_of_memory"), ("reason", .string(reason))])
            if let out { try writeFileAtomically(outcome.text(indented: true) + "\n", to: out) }
            if json { Output.line(outcome.text(indented: true)) }
            throw Failure.run("simulate: out of memory: \(reason)")
        }
    }

    /// Writes and prints what was simulated.
    private func finish(_ result: JSONValue, _ table: String, _ simulation: SimulatedStep) throws {
        if let out { try writeFileAtomically(result.text(indented: true) + "\n", to: out) }
        if let trace { try TraceFile.write([simulation.trace], to: trace) }
        Output.line(json ? result.text(indented: true) : table)
    }
}
