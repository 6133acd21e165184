import ArgumentParser
import Cluster
import MPI
import Support
import Training

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Find out whether these computers are fit to train. Start it as training will be started.")

    @Argument(
        help: "An experiment, whose model, data, disk and memory are then looked at as well.",
        completion: .file(extensions: ["json"]))
    var experiment: String?

    @Option(
        name: .customLong("set"), parsing: .singleValue,
        help: ArgumentHelp("Overrides one value of the experiment.", valueName: "key.path=value"))
    var overrides: [String] = []

    @Flag(help: "Print the report as JSON instead of tables.")
    var json = false

    func validate() throws {
        guard experiment != nil || overrides.isEmpty else {
            throw ValidationError("--set: expected an experiment whose value it overrides")
        }
    }

    func run() throws {
        var verdict = ClusterReport.Verdict.fit
        try Program.inWorld { world in
            let (found, report) = try ClusterSurvey.run(
                world, experimentPath: experiment, overrides: overrides)
            verdict = found
            guard let report, Program.speaks else { return }
            Output.line(json ? report.json.text(indented: true) : report.text)
        }
        guard verdict == .notFit else { return }
        Program.leave(status: 1)
    }
}
