import ArgumentParser
import Support
import Training

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what a cache file, checkpoint, adapter or run directory holds.")

    @Argument(help: "A file or a directory.", completion: .file())
    var path: String

    @Flag(help: "Print JSON instead of a table.")
    var json = false

    func run() throws {
        guard Program.speaks else { return }
        let inspection = try Inspection(path)
        Output.line(json ? inspection.json.text(indented: true) : inspection.text)
    }
}
