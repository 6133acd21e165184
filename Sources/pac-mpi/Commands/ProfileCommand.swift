import ArgumentParser
import MPI
import Reporting
import Support
import Training

struct ProfileCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile",
        abstract:
            "Measure every rank, layer and link, and write profile.json. Needs every rank that will train.")

    @OptionGroup var arguments: ExperimentArguments

    @Option(help: "Where to write the profile.")
    var out = "profile.json"

    @Flag(help: "Print the profile as JSON instead of a table.")
    var json = false

    func run() throws {
        try Program.inWorld { world in
            let session = try Session(
                world: world, experimentPath: arguments.experiment, overrides: arguments.overrides,
                data: .trainAndValidation)
            let profile = try PlanChooser.profile(session)
            try session.context.world.onRoot {
                try writeFileAtomically(profile.json.text(indented: true) + "\n", to: out)
                Output.line(json ? profile.json.text(indented: true) : profile.table)
                if !json { Output.line("written to \(out)") }
            }
        }
    }
}
