import Configuration
import Families
import Foundation
import Launching
import Models
import Planning
import Plans
import Reporting
import Support
import TensorCore
import Testing
import Training

/// The pages of `docs/` name every key, command, event and file of the program, and nothing else.
struct DocumentationTests {
    private func page(_ name: String) throws -> MarkdownPage { try MarkdownPage("docs/\(name).md") }

    @Test("docs/experiment.md has every key with its default") func keysOfAnExperiment() throws {
        let rows = try page("experiment").table(under: "Keys")
        let experiment = try Self.experiment("{}")
        let keys = Self.leaves(experiment.json).filter { !Self.isTechniqueKey($0.path) }
        #expect(rows.map(\.key) == keys.map(\.path))
        for (row, key) in zip(rows, keys) {
            // These three have no default, and the name comes from the file.
            if ["model.path", "task.kind", "task.train"].contains(key.path) {
                #expect(row.cells[1] == "required")
            } else if key.path != "name" {
                #expect(Self.isDefault(row, key.value), "\(key.path)")
            }
        }
    }

    @Test(
        "docs/techniques.md has every technique's keys with their defaults",
        arguments: ["parallel_adapters", "lora", "adapters", "full"])
    func keysOfATechnique(_ kind: String) throws {
        let experiment = try Self.experiment(#"{"kind": "\#(kind)"}"#)
        let keys = Self.leaves(experiment.json).filter { Self.isTechniqueKey($0.path) }
        let rows = try page("techniques").table(under: kind)
        #expect(rows.map(\.key) == keys.map(\.path))
        for (row, key) in zip(rows, keys) { #expect(Self.isDefault(row, key.value), "\(key.path)") }
    }

    @Test("docs/techniques.md has every technique") func techniques() throws {
        let failure = #expect(throws: Failure.self) { try Self.experiment(#"{"kind": ""}"#) }
        let rows = try page("techniques").table(under: "Techniques")
        // "expected one of "a", "b", found ..." lists the program's own.
        let known = try #require(
            failure?.message.split(separator: "one of ").last?.split(separator: ", found").first)
        #expect(known == rows.map { "\"\($0.key)\"" }.joined(separator: ", "))
    }

    /// What the program reads is what it writes, so the keys above are all that it knows.
    @Test("an experiment's reader knows the keys that its writer writes") func readerAndWriterAgree() throws {
        for technique in ["parallel_adapters", "lora", "adapters", "full"] {
            let json = try Self.experiment(#"{"kind": "\#(technique)"}"#).json
            for path in [[]] + (json.members ?? []).filter({ $0.value.members != nil }).map({ [$0.key] }) {
                let failure = #expect(throws: Failure.self) { try Self.readWithUnknownKey(json, at: path) }
                let known = failure?.message.split(separator: "Known here: ").last?.dropLast()
                let object = path.reduce(json) { $0[$1] ?? .null }
                #expect(
                    Set(known?.split(separator: ", ").map(String.init) ?? [])
                        == Set((object.members ?? []).map(\.key)), "\(path)")
            }
        }
    }

    @Test("docs/models.md has every family") func families() throws {
        let configuration = JSONReader(.dictionary([("model_type", "none")]), file: "config.json")
        let failure = #expect(throws: Failure.self) { try readModelFamily(configuration) }
        let rows = try page("models").table(under: "Families")
        let list = rows.map { "\"\($0.key)\"" }.joined(separator: ", ")
        #expect(failure?.message.contains("one of \(list), found") == true, "\(failure?.message ?? "")")
    }

    @Test("docs/experiment.md has every kind of task") func kindsOfTasks() throws {
        let failure = #expect(throws: Failure.self) { try Self.experiment("{}", task: "") }
        let rows = try page("experiment").table(under: "Data")
        for kind in rows.map(\.key) { #expect(failure?.message.contains("\"\(kind)\"") == true, "\(kind)") }
        #expect(failure?.message.split(separator: "\", \"").count == rows.count)
    }

    @Test("the examples of an experiment and of a plan are valid") func examples() throws {
        func reader(_ text: String) throws -> JSONReader {
            JSONReader(try JSONValue(parsing: Array(text.utf8), file: "example"), file: "example")
        }
        let experiments = try MarkdownPage("README.md").examples.filter { $0.contains("model") }
        #expect(experiments.count == 1)
        for text in experiments { _ = try Experiment(reader(text)) }
        let plans = try page("experiment").examples
        #expect(plans.count == 1)
        for text in plans {
            let plan = try Plan(reader(text), miniBatchSize: 16)
            try plan.validate(layerCount: 8, worldSize: 4, miniBatchSize: 16)
        }
    }

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
}

extension DocumentationTests {
    /// An experiment of which only what is required is written, in a file `NAME.json`.
    private static func experiment(_ technique: String, task: String = "classification") throws -> Experiment
    {
        let text = """
            {"model": {"path": "m"}, "task": {"kind": "\(task)", "train": "t"}, "technique": \(technique)}
            """
        return try Experiment(
            JSONReader(JSONValue(parsing: Array(text.utf8), file: "NAME.json"), file: "NAME.json"))
    }

    /// Whether the second cell of a row is a value, as JSON.
    private static func isDefault(_ row: MarkdownPage.Row, _ value: JSONValue) -> Bool {
        // A page may write 1 for 1.0.
        guard let number = value.number else { return row.cells[1] == "`\(value.text())`" }
        return row.codes(in: 1).first.flatMap(Double.init) == number
    }

    private static func readWithUnknownKey(_ json: JSONValue, at path: [String]) throws {
        var changed = json
        try changed.apply(override: (path + ["unknown_key_of_a_test"]).joined(separator: ".") + "=1")
        _ = try Experiment(JSONReader(changed, file: "NAME.json"))
    }

    private static func isTechniqueKey(_ path: String) -> Bool {
        path.hasPrefix("technique.") && path != "technique.kind"
    }

    /// The dotted paths of all values that are no objects, in order.
    private static func leaves(_ value: JSONValue, _ path: [String] = []) -> [(
        path: String, value: JSONValue
    )] {
        guard let members = value.members else { return [(path.joined(separator: "."), value)] }
        return members.flatMap { leaves($0.value, path + [$0.key]) }
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
