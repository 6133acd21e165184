import Foundation
import Launching
import PlanExamples
import Plans
import Support
import Testing
import TinyRuns

/// A budget is kept: what would go beyond it ends the run and says so, on one rank and on many. So does what goes beyond
/// the system's memory.
@Suite struct MemoryBudgetTests {
    private static let budget = ["device.memory_budget_bytes=60000"]

    @Test("an allocation beyond the budget ends the run", arguments: [1, 4])
    func anAllocationBeyondTheBudgetEndsTheRun(ranks: Int) throws {
        let workshop = try Workshop()
        // The plan is the user's own, so nobody has asked whether it fits.
        let outcome = try workshop.run(
            ranks: ranks, ["train", workshop.experiment] + Workshop.arguments(Self.budget), seconds: 30)
        #expect(outcome.status == 1)
        // With a budget that no rank keeps to, one of them speaks.
        let lines = outcome.errors.split(separator: "\n").filter { $0.contains("memory budget") }
        let line = try #require(lines.first, "\(outcome.errors)")
        #expect(lines.count == 1, "\(outcome.errors)")
        #expect(line.hasPrefix(ranks == 1 ? "pac-mpi: making stage 0: " : "pac-mpi: rank 0 ("))
        #expect(line.contains("more for weights would exceed the memory budget"))
        #expect(line.contains("of 60.0 kB"))
        for category in [
            "weights ", "activations 0 B", "gradients ", "optimizer 0 B", "exchange 0 B", "cache 0 B",
        ] {
            #expect(line.contains(category), "\(line)")
        }
    }

    @Test("memory that the system does not have ends the run as well", arguments: [1, 2])
    func memoryThatTheSystemDoesNotHaveEndsTheRunAsWell(ranks: Int) throws {
        let workshop = try Workshop()
        // What is trained is larger than any process has addresses for: 8 PB for the embedding, and 13 square matrices of 4 TB.
        let path = "model/config.json"
        var text = String(decoding: try workshop.read(path), as: UTF8.self)
        for (old, new) in [
            ("vocab_size\": 512", "vocab_size\": 2000000000"),
            ("hidden_size\": 32", "hidden_size\": 1000000"),
        ] {
            try #require(text.contains(old))
            text = text.replacingOccurrences(of: old, with: new)
        }
        try workshop.write(text, to: path)
        let outcome = try workshop.run(
            ranks: ranks,
            ["train", workshop.experiment]
                + Workshop.arguments(["model.initialization=random", #"technique={"kind": "full"}"#]),
            seconds: 30)
        #expect(outcome.status == 1)
        let lines = outcome.errors.split(separator: "\n").filter { $0.contains("out of memory") }
        let line = try #require(lines.first, "\(outcome.errors)")
        #expect(lines.count == 1, "\(outcome.errors)")
        #expect(line.hasPrefix(ranks == 1 ? "pac-mpi: making stage 0: " : "pac-mpi: rank 0 ("), "\(line)")
        #expect(
            line.contains(
                "making stage 0: out of memory: the system has no 8.1 PB more for weights; in use are "),
            "\(line)")
        #expect(line.contains("activations 0 B"), "\(line)")
    }

    @Test("a budget in the midst of training names stage and action")
    func aBudgetInTheMidstOfTrainingNamesStageAndAction() throws {
        let workshop = try Workshop()
        let plan = Plan.of([(0..<3, [0], [4]), (3..<5, [1], [4])], microBatchCount: 2)
        // Without a budget, what moves early would use what is to spare.
        let whole = try workshop.train(
            ranks: 2, "whole", plan: plan, settings: ["cache.moves_early=false"])
        let peaks = try whole.events("memory", "pipeline").map {
            try #require($0["peak_bytes"]?["total"]?.integer)
        }
        let peak = try #require(peaks.max())
        let arguments = Workshop.arguments(["device.memory_budget_bytes=\(peak - 1)"], plan: plan)
        let outcome = try workshop.run(ranks: 2, ["train", workshop.experiment] + arguments, seconds: 30)
        #expect(outcome.status == 1)
        #expect(outcome.errors.contains(": stage "), "\(outcome.errors)")
        #expect(outcome.errors.contains("would exceed the memory budget"))
        // With what it needs, it runs.
        let enough = Workshop.arguments(["device.memory_budget_bytes=\(peak)"], plan: plan)
        #expect(
            try workshop.run(ranks: 2, ["train", workshop.experiment, "--overwrite"] + enough).status == 0)
    }

    @Test("systems that do not fit say so before they start", arguments: ["standalone", "eddl"])
    func systemsThatDoNotFitSaySoBeforeTheyStart(system: String) throws {
        let workshop = try Workshop()
        let settings = Self.budget + ["parallelism.system=\"\(system)\"", "parallelism.plan=null"]
        let outcome = try workshop.run(
            ranks: 2, ["train", workshop.experiment] + Workshop.arguments(settings), seconds: 60)
        #expect(outcome.status == 2)
        #expect(outcome.errors.hasPrefix("pac-mpi: plan: infeasible: 1 stage: "), "\(outcome.errors)")
        #expect(outcome.errors.contains("its budget is 60000"))
    }

    @Test("hosts that run no rank are named")
    func hostsThatRunNoRankAreNamed() throws {
        let workshop = try Workshop()
        for (text, message) in [
            (#"{"nowhere": 5}"#, "device.memory_budget_bytes: expected hosts that run ranks ("),
            (#""much""#, "device.memory_budget_bytes: expected bytes, or an object of host names and bytes"),
            (#"{"nowhere": -5}"#, "device.memory_budget_bytes.nowhere: expected an integer of at least 1"),
        ] {
            let outcome = try workshop.run(
                ["train", workshop.experiment] + Workshop.arguments(["device.memory_budget_bytes=\(text)"]))
            #expect(outcome.status == 2)
            #expect(outcome.errors.contains(message), "\(outcome.errors)")
        }
    }

    @Test("an evaluation cuts a model that is too large for one rank")
    func anEvaluationCutsAModelThatIsTooLargeForOneRank() throws {
        let workshop = try Workshop()
        _ = try workshop.train("run", plan: .alone(layerCount: 5))
        func evaluate(_ ranks: Int, _ settings: [String]) throws -> Outcome {
            try workshop.run(
                ranks: ranks,
                ["evaluate", workshop.experiment, "--adapter", "\(workshop.path)/run/adapter", "--json"]
                    + Workshop.arguments(settings + ["parallelism={}"]))
        }
        let whole = try evaluate(1, [])
        try #require(whole.status == 0, "\(whole.errors)")
        let cut = try evaluate(4, ["device.memory_budget_bytes=200000"])
        #expect(cut.status == 0, "\(cut.errors)")
        #expect(cut.output == whole.output)
        let one = try evaluate(1, ["device.memory_budget_bytes=200000"])
        #expect(one.status == 2)
        #expect(one.errors.contains("device.memory_budget_bytes: the model needs "), "\(one.errors)")
    }
}
