import Configuration
import MarkdownPages
import Plans
import Support
import Testing

/// The pages of `docs/` name every key of an experiment with its default, and nothing else.
struct ExperimentDocumentationTests {
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
}

extension ExperimentDocumentationTests {
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
}
