import Foundation
import Launching
import MarkdownPages
import Plans
import Reporting
import Support
import TensorCore
import Testing
import TinyRuns
import Training

/// The pages of `docs/` name every command, event and file of the program, and nothing else.
struct DocumentationTests {
    private func page(_ name: String) throws -> MarkdownPage { try MarkdownPage("docs/\(name).md") }

    @Test("docs/running.md has every command and option; README.md has every command") func commands() throws
    {
        let help = try launch(builtExecutable("pac-mpi"), ["--experimental-dump-help"], seconds: 60)
        try #require(help.status == 0, "\(help.errors)")
        let commands = try JSONReader(JSONValue(parsing: Array(help.output.utf8), file: "help"), file: "help")
            .object().required("command").object().required("subcommands").array()
        var known: [(name: String, options: Set<String>)] = []
        for command in commands {
            let object = try command.object()
            let arguments = try object.optional("arguments")?.array() ?? []
            let names = try arguments.compactMap { argument -> String? in
                let argument = try argument.object()
                guard try argument.required("kind").string() != "positional" else { return nil }
                return "--" + (try argument.required("preferredName").object().required("name").string())
            }
            known.append((try object.required("commandName").string(), Set(names)))
        }
        let running = try page("running")
        #expect(Set(running.table(under: "Commands").map(\.key)) == Set(known.map(\.name)))
        let readme = try MarkdownPage("README.md").table(under: "Commands").map(\.key)
        #expect(Set(readme) == Set(known.map(\.name)).subtracting(["help"]))

        let options = running.table(under: "Options")
        for (name, own) in known {
            let documented = options.filter { $0.cells[1] == "all" || $0.codes(in: 1).contains(name) }
            let names = documented.flatMap { $0.codes(in: 0) }.map { String($0.prefix { $0 != " " }) }
            #expect(Set(names) == own, "\(name)")
            #expect(names.count == own.count, "\(name)")
        }
        let named = Set(options.flatMap { $0.codes(in: 1) })
        #expect(named.isSubset(of: known.map(\.name)))
    }

    @Test("docs/outputs.md has every event and its fields") func events() throws {
        let rows = try page("outputs").table(under: "Events")
        #expect(rows.filter { MetricsEvent(rawValue: $0.key) == nil }.isEmpty)
        for event in MetricsEvent.allCases {
            #expect(rows.first { $0.key == event.rawValue }?.codes(in: 1) == event.fields, "\(event)")
        }
        let explained = try page("outputs").table(under: "Fields").flatMap { $0.codes(in: 0) }
        #expect(Set(explained).isSubset(of: MetricsEvent.allCases.flatMap(\.fields)))
    }

    @Test("docs/outputs.md has every kind of file that a run leaves") func files() throws {
        #expect(Set(try page("outputs").table(under: "Files").map(\.key)) == Set(RunDirectory.fileKinds))
    }

    /// What the lists above say, against what a run does.
    @Test("a run leaves only files of the list, and events with the fields that they declare") func aRun()
        throws
    {
        let workshop = try Workshop()
        let plan = Plan.alone(layerCount: 5)
        let run = try workshop.train(
            "run", plan: plan, settings: ["cache.keep=true", "parallelism.schedule=streaming"])
        let report = try workshop.run(["report", run.directory])
        #expect(report.status == 0, "\(report.errors)")

        let found = FileManager.default.enumerator(atPath: run.directory)?.compactMap { $0 as? String } ?? []
        let files = found.filter { !["adapter", "cache", "checkpoints"].contains($0) }
        // The plan was given, so there is no profile.
        #expect(
            Set(RunDirectory.fileKinds).subtracting(files).isSubset(of: [
                "profile.json", "cache/classifier.safetensors",
            ]))
        #expect(Set(files).isSubset(of: RunDirectory.fileKinds))

        let logged = Set(run.events.compactMap { $0["event"]?.string })
        #expect(logged == Set(MetricsEvent.allCases.map(\.rawValue)).subtracting(["resume"]))
        for event in run.events {
            let declared = try #require(MetricsEvent(rawValue: event["event"]?.string ?? ""))
            let fields = (event.members ?? []).map(\.key)
            #expect(fields.prefix(2) == ["event", "time"])
            #expect(Set(declared.fields).subtracting(fields).isEmpty, "\(declared)")
        }
    }

    @Test("docs/outputs.md names the categories of memory") func categoriesOfMemory() throws {
        let row = try #require(try page("outputs").tables.first { $0.key == "peak_bytes" })
        #expect(row.codes(in: 1) == MemoryCategory.allCases.map(\.rawValue) + ["total"])
    }

    /// Messages are quoted in pieces, with "…" for what differs.
    @Test("docs/troubleshooting.md quotes messages that the program has") func messages() throws {
        let sources = try Self.sourceTexts()
        let rows = try page("troubleshooting").tables
        #expect(rows.count > 20)
        for row in rows {
            for piece in row.codes(in: 0).flatMap({ $0.split(separator: "…") }) {
                let text = piece.trimmingCharacters(in: .whitespaces).replacingOccurrences(
                    of: "\"", with: #"\""#)
                #expect(sources.contains(text), "\(text)")
            }
        }
    }

    @Test("links between pages lead somewhere") func links() throws {
        let folders = ["docs", "experiments", "hostfiles"]
        let pages =
            ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
            + folders.flatMap { folder in
                (FileManager.default.enumerator(atPath: folder)?.compactMap { $0 as? String } ?? [])
                    .filter { $0.hasSuffix(".md") }.map { "\(folder)/\($0)" }
            }
        for path in pages {
            let page = try MarkdownPage(path)
            let folder = URL(fileURLWithPath: path).deletingLastPathComponent()
            for link in page.links where !link.contains("://") {
                let parts = link.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
                let target = parts[0].isEmpty ? path : folder.appendingPathComponent(String(parts[0])).path
                #expect(FileManager.default.fileExists(atPath: target), "\(path): \(link)")
                guard parts.count == 2, target.hasSuffix(".md"),
                    FileManager.default.fileExists(atPath: target)
                else { continue }
                #expect(try MarkdownPage(target).anchors.contains(String(parts[1])), "\(path): \(link)")
            }
        }
    }

    /// All Swift sources of the program, with texts that are joined by `+` in one piece.
    private static func sourceTexts() throws -> String {
        let files = FileManager.default.enumerator(atPath: "Sources")?.compactMap { $0 as? String } ?? []
        return try files.filter { $0.hasSuffix(".swift") }.map {
            try String(contentsOfFile: "Sources/\($0)", encoding: .utf8)
                .replacingOccurrences(of: "\"\\s*\\+ \"", with: "", options: .regularExpression)
        }.joined(separator: "\n")
    }
}
