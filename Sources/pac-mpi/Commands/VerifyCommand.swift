import ArgumentParser
import Support
import TensorCore
import Training
import Verification

struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Check this build on this machine against reference vectors.",
        discussion: "Exits with 1 when any error is larger than its tolerance.")

    @Argument(help: "Case directories, tokenizer directories, or the directory of a seed.")
    var paths: [String]

    @Option(parsing: .singleValue, help: "Check the backbone and this technique only.")
    var technique: [String] = []

    @Flag(help: "Print the rows as JSON.")
    var json = false

    func run() throws {
        guard Program.speaks else { return }
        setThreadCount(1)
        let report = try ReferenceVerifier(paths: paths, techniques: technique.isEmpty ? nil : technique)
            .run()
        Output.line(json ? report.json.text(indented: true) : report.table)
        guard report.passed else {
            throw Failure.run(
                "verify: \(report.rows.count { !$0.passed }) of \(report.rows.count) checks failed")
        }
    }
}
