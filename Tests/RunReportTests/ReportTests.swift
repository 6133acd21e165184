import Foundation
import FoundationXML
import PlanExamples
import Plans
import Reporting
import Support
import Testing
import TinyRuns

/// The page that `report` makes of a run directory.
@Suite(.serialized) struct ReportTests {
    private static let pairs = Plan.of(
        [(0..<3, [0, 1], [3, 1]), (3..<5, [2, 3], [2, 2])], microBatchCount: 2)

    private func page(_ workshop: Workshop, _ name: String = "run") throws -> XMLDocument {
        let outcome = try workshop.run(["report", "\(workshop.path)/\(name)"])
        try #require(outcome.status == 0, "\(outcome.errors)")
        #expect(outcome.output == "wrote \(workshop.path)/\(name)/report.html\n" && outcome.errors == "")
        let text = String(decoding: try workshop.read("\(name)/report.html"), as: UTF8.self)
        // Nothing is fetched and nothing runs.
        for word in ["<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import"] {
            #expect(!text.contains(word), "\(word)")
        }
        #expect(
            text.ranges(of: "http").count == text.ranges(of: "xmlns=\"http://www.w3.org/2000/svg\"").count)
        return try XMLDocument(xmlString: text)
    }

    /// The cells of a table, row by row; the first row are the headers.
    private func table(_ page: XMLDocument, _ id: String) throws -> [[String]] {
        try page.nodes(forXPath: "//table[@id='\(id)']//tr").map { row in
            try row.nodes(forXPath: "th|td").map { $0.stringValue ?? "" }
        }
    }

    private func titles(_ page: XMLDocument, _ section: String) throws -> [String] {
        try page.nodes(
            forXPath: "//section[@id='\(section)']//*[local-name()='rect']/*[local-name()='title']"
        )
        .map { $0.stringValue ?? "" }
    }

    private func fixed(_ value: JSONValue?, _ decimals: Int = 4) throws -> String {
        String(format: "%.\(decimals)f", try #require(value?.number))
    }

    @Test("the page says what the log says") func thePageSaysWhatTheLogSays() throws {
        let workshop = try Workshop()
        let run = try workshop.train(
            ranks: 4, "run", plan: Self.pairs, settings: ["name=<b>\"tiny\" & co</b>"])
        let page = try page(workshop)
        #expect(try page.nodes(forXPath: "//h1").map(\.stringValue) == ["<b>\"tiny\" & co</b>"])
        let ids = try page.nodes(forXPath: "//@id").map(\.stringValue)
        #expect(Set(ids).count == ids.count)

        let evaluations = try table(page, "evaluations")
        #expect(evaluations[0] == ["epoch", "accuracy", "mean", "samples", "time"])
        let expected = try run.events("evaluation").map {
            [
                "\($0["epoch"]!.integer!)", try fixed($0["metrics"]?["accuracy"]),
                try fixed($0["metrics"]?["mean"]), "13",
            ]
        }
        #expect(evaluations.dropFirst().map { Array($0.prefix(4)) } == expected)

        let epochs = try table(page, "epochs")
        #expect(epochs.count == 4)
        for (row, event) in zip(epochs.dropFirst(), run.events("epoch")) {
            #expect(row[0] == "\(event["epoch"]!.integer!)")
            #expect(row[1] == (event["phase"] == "pipeline" ? "with the backbone" : "from the cache"))
            #expect(row[2] == (try fixed(event["train_loss"])))
        }

        // Every step's loss can be pointed at.
        let losses = try titles(page, "loss").filter { $0.contains(": loss ") }
        let steps = run.events("step")
        #expect(losses.count == steps.count)
        for (title, event) in zip(losses, steps) {
            let loss = try fixed(event["loss"])
            #expect(title.hasPrefix("step \(event["step"]!.integer!), ") && title.hasSuffix("loss \(loss)"))
        }

        let memory = try table(page, "memory-peaks")
        #expect(memory.count == 1 + run.events("memory").count)
        for (row, event) in zip(memory.dropFirst(), run.events("memory")) {
            #expect(row[0] == "\(event["rank"]!.integer!)")
            let weights = Double(event["peak_bytes"]!["weights"]!.integer!)
            #expect(row[memory[0].firstIndex(of: "weights")!] == String(format: "%.1f kB", weights / 1000))
            #expect(row[memory[0].firstIndex(of: "budget")!] == "none")
        }

        // The time lines name the schedule's actions: of both stages with the backbone, and of one cached step.
        let actions = try titles(page, "timeline").map { String($0.prefix { $0 != ":" }) }
        for action in ["F0", "F1", "SF0", "RB1", "RF0", "SB1", "B1", "to 2", "from 2"] {
            #expect(actions.contains(action), "\(action)")
        }
        #expect(actions.count { $0 == "F1" } == 4 && actions.count { $0 == "OS" } == 8)
        // A given plan predicts nothing.
        let predictions = try table(page, "predictions")
        #expect(
            predictions.dropFirst().map(\.first) == ["mini-batch"]
                + (0...1).flatMap { stage in
                    ["forward", "backward", "all-reduce"].map { "stage \(stage) \($0)" }
                })
        #expect(predictions.dropFirst().allSatisfy { $0[1] == "–" && $0[2].hasSuffix(" ms") && $0[3] == "–" })
        #expect(try table(page, "considered").isEmpty)

        // A prediction in the trace is drawn under the rank that it is for.
        let path = run.directory + "/trace.json"
        let prediction = TraceGroup(
            origin: .predicted,
            spans: [TraceSpan(rank: 2, name: "F0", category: .forward, start: 5, seconds: 0.125)])
        try TraceFile.write(try TraceFile.read(path) + [prediction], to: path)
        let drawn = try self.page(workshop)
        #expect(try titles(drawn, "timeline").contains("F0: 125 ms"))
        let bands = try drawn.nodes(
            forXPath: "//section[@id='timeline']//*[local-name()='text'][@class='name']")
        let names = ["rank 0", "rank 1", "rank 2", "predicted", "rank 3"]
        #expect(bands.prefix(5).map(\.stringValue) == names)
    }

    @Test("what a planner expected stands beside what was measured") func whatAPlannerExpectedStandsBeside()
        throws
    {
        let workshop = try Workshop()
        let outcome = try workshop.run(
            ranks: 2,
            [
                "train", workshop.experiment, "--set", "parallelism={}", "--set",
                "device.memory_budget_bytes=90000000",
            ])
        try #require(outcome.status == 0, "\(outcome.errors)")
        let page = try page(workshop)
        let plan = try JSONValue(contentsOf: "\(workshop.path)/run/plan.json")
        let predicted = try #require(plan["predicted"])
        let rows = try table(page, "predictions")
        func milliseconds(_ value: JSONValue?) throws -> String {
            String(format: "%.2f ms", try #require(value?.number) * 1000)
        }
        #expect(rows[1][1] == (try milliseconds(predicted["step_seconds"])))
        #expect(rows[2][1] == (try milliseconds(predicted["stages"]?.array?[0]["forward_seconds"])))
        #expect(rows[3][1] == (try milliseconds(predicted["stages"]?.array?[0]["backward_seconds"])))
        #expect(
            try table(page, "considered").count == 1 + (try #require(predicted["considered"]?.array).count))
        let memory = try table(page, "memory-peaks")
        let bytes = try #require(predicted["stages"]?.array?[0]["memory_bytes"]?.array?[0].integer)
        #expect(
            memory[1][memory[0].firstIndex(of: "predicted")!]
                == String(format: "%.1f kB", Double(bytes) / 1000))
        #expect(memory[1][memory[0].firstIndex(of: "budget")!] == "90.0 MB")
    }

    @Test("one rank, one epoch, no evaluation") func oneRankOneEpochNoEvaluation() throws {
        let workshop = try Workshop()
        let run = try workshop.train(
            "run", plan: .alone(layerCount: 5), settings: ["training.max_steps=1", "task.validation=null"])
        let page = try page(workshop)
        #expect(try page.nodes(forXPath: "//section[@id='evaluation']").isEmpty)
        #expect(try table(page, "epochs")[1][2] == (try fixed(run.events("epoch")[0]["train_loss"])))
        #expect(try titles(page, "loss").count == 2)
        let text = try #require(page.rootElement()?.stringValue)
        #expect(!text.contains("nan") && !text.contains("inf "))
    }

    @Test(
        "a file that is missing or damaged is named",
        arguments: [
            ("experiment.json", nil, "run/experiment.json: cannot be read: No such file or directory"),
            ("plan.json", nil, "run/plan.json: cannot be read"),
            ("trace.json", nil, "run/trace.json: cannot be read"),
            ("metrics.jsonl", nil, "run/metrics.jsonl: cannot be read"),
            ("metrics.jsonl", "{\"event\":\"epoch\"}\n", "run/metrics.jsonl:1: the key \"epoch\" is missing"),
            ("metrics.jsonl", "{\"event\":\n", "run/metrics.jsonl:1: not valid JSON"),
            (
                "trace.json", "{\n\"traceEvents\":[]}",
                "run/trace.json: expected what ranks did, found no rank"
            ),
            (
                "trace.json", "{\n\"traceEvents\":3}",
                "run/trace.json:2: traceEvents: expected an array, found the number 3"
            ),
            ("profile.json", "{}", "run/profile.json"),
            (
                "plan.json",
                "{\"stages\": [{\"layers\": [0, 5], \"ranks\": [4], \"share\": [8]}], \"micro_batch_count\": 1}",
                "run/plan.json: expected ranks from 0 to 0, as in metrics.jsonl, found 4"
            ),
        ] as [(String, String?, String)])
    func aFileThatIsMissingOrDamagedIsNamed(name: String, text: String?, message: String) throws {
        let workshop = try Workshop()
        _ = try workshop.train(
            "run", plan: .alone(layerCount: 5), settings: ["training.max_steps=1", "task.validation=null"])
        if let text {
            try workshop.write(text, to: "run/\(name)")
        } else {
            try workshop.remove("run/\(name)")
        }
        let outcome = try workshop.run(["report", "\(workshop.path)/run"])
        #expect(outcome.status == 2 && outcome.output == "")
        #expect(outcome.errors.hasPrefix("pac-mpi: \(workshop.path)/\(message)"), "\(outcome.errors)")
        #expect(outcome.errors.split(separator: "\n").count == 1 && !workshop.exists("run/report.html"))
    }

    @Test("what is no run directory") func whatIsNoRunDirectory() throws {
        let workshop = try Workshop()
        for (path, message) in [
            ("nothing", "no such directory"), ("model", "experiment.json: cannot be read"),
        ] {
            let outcome = try workshop.run(["report", "\(workshop.path)/\(path)"])
            #expect(outcome.status == 2 && outcome.errors.contains(message), "\(outcome.errors)")
        }
    }
}
