import Configuration
import Models
import Simulation
import Support
import Testing

/// The tables of `experiments/paper` against the published values. Nothing is measured: the figures are the same
/// anywhere.
@Suite("The paper's tables, simulated")
struct PaperTableTests {
    private func comparison(_ name: String) throws -> TableComparison {
        let path = "experiments/paper/\(name)/table.json"
        return try TableSimulation(
            SimulationTable(JSONReader(contentsOf: path))
        ).run()
    }

    @Test("Table 1: totals within 2 %")
    func table1() throws {
        let summary = try comparison("table1").summary
        #expect(summary.deviations.count == 3)
        #expect(summary.count(within: 0.02) == 3)
    }

    @Test("Table 2: what runs out of memory, the hours, and the order of methods")
    func table2() throws {
        let summary = try comparison("table2").summary
        #expect(summary.memoryCount == 120)
        #expect(summary.memoryMatches == 120)
        #expect(summary.deviations.count == 60)
        #expect(summary.count(within: 0.1) >= 36)
        #expect(summary.count(within: 0.3) >= 52)
        #expect(summary.count(within: 0.4) == 60)
        #expect(Double(summary.pairMatches) >= 0.95 * Double(summary.pairCount))
    }

    @Test("Figure 10: the groupings of T5-Base and BART-Large, and none of the paper's more than 8 % slower")
    func figure10() throws {
        let comparison = try comparison("figure10")
        #expect(comparison.summary.groupingCount == 12)
        #expect(comparison.summary.groupingMatches >= 8)
        #expect(comparison.summary.groupingSlowdowns.max()! <= 0.08)
        let rows = try #require(comparison.json["rows"]?.array)
        for row in rows.prefix(2) {
            for cell in try #require(row["cells"]?.array) { #expect(cell["simulated"] == cell["published"]) }
        }
    }

    @Test("Figure 11: within 10 points")
    func figure11() throws {
        let summary = try comparison("figure11").summary
        #expect(summary.points.count == 14)
        #expect(summary.points.max()! <= 10)
    }

    @Test(
        "the committed comparison pages are what the tables give",
        arguments: ["table1", "table2", "figure10", "figure11"])
    func pagesAreCurrent(name: String) throws {
        let committed = String(
            decoding: try readFile("experiments/paper/\(name)/comparison.md"), as: UTF8.self)
        #expect(try comparison(name).markdown == committed)
    }

    @Test("a budget that nothing fits is an outcome with its reason")
    func outOfMemory() throws {
        let experiment = try Experiment(
            contentsOf: "experiments/paper/experiment.json",
            overrides: ["device.memory_budget_bytes=100000000"])
        let path = "experiments/clusters/jetson-nano-4.json"
        let cluster = try SimulatedCluster(JSONReader(contentsOf: path))
        guard case .outOfMemory(let reason) = try ExperimentSimulation(experiment, cluster: cluster).run()
        else {
            Issue.record("expected an outcome out of memory")
            return
        }
        #expect(reason.contains("its budget is 100000000"))
    }

    @Test("all cluster files can be read", arguments: ["jetson-nano-8", "mixed-home", "devices-1000"])
    func clusters(name: String) throws {
        let path = "experiments/clusters/\(name).json"
        let cluster = try SimulatedCluster(JSONReader(contentsOf: path))
        #expect(cluster.devices.count == ["jetson-nano-8": 8, "mixed-home": 4, "devices-1000": 1000][name])
    }

    @Test(
        "what is wrong with a table is named",
        arguments: [
            (
                #""rows": [{"name": "a", "paper": [1, 2]}]"#,
                "rows[0].paper: expected a value or null for each of the 1 columns"
            ),
            (#""rows": [{"name": "a", "paper": ["oom"]}]"#, "a number, \"OOM\", a grouping"),
            (#""rows": [{"name": "a", "papers": [1]}]"#, "Did you mean \"rows[0].paper\"?"),
            (
                #""rows": [{"name": "a", "reduction_against": "b", "paper": [1]}]"#,
                "the name of a row of the same group"
            ),
            (#""rows": []"#, "at least one row"),
        ])
    func badTables(rows: String, expected: String) throws {
        let text =
            #"{"title": "t", "experiment": "e", "cluster": "c", "quantity": "hours", "columns": [{"name": "x"}], \#(rows)}"#
        let reader = try JSONReader(parsing: Array(text.utf8), file: "t.json")
        #expect {
            _ = try SimulationTable(reader)
        } throws: {
            let message = ($0 as? Failure)?.message ?? ""
            return message.contains(expected)
                || (expected.hasPrefix("Did you mean") && message.contains("Did you mean"))
        }
    }
}
