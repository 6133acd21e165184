import ArgumentParser
import RunReport
import Support
import Training

struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Write a run's report.html: losses, figures, times, time line and memory. Needs no mpirun.")

    @Argument(help: "A run directory.", completion: .directory)
    var directory: String

    func run() throws {
        guard Program.speaks else { return }
        Output.line("wrote \(try ReportPage(directory).write())")
    }
}
