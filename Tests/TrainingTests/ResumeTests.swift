import Foundation
import Launching
import Models
import PlanExamples
import Plans
import Support
import Testing
import TinyRuns

/// A run that was killed goes on where it stopped, and ends as if nothing had happened.
@Suite(.serialized) struct ResumeTests {
    static let pairs = Plan.of([(0..<3, [0, 1], [3, 1]), (3..<5, [2, 3], [2, 2])], microBatchCount: 2)
    static let three = Plan.of([(0..<4, [0, 2], [3, 1]), (4..<5, [1], [4])], microBatchCount: 2)
    static let settings = ["output.checkpoint_steps=3", "training.epochs=4"]

    /// Moments to kill at: within the first epoch of 14 steps, at its end, and in later ones.
    static let moments = [5, 14, 31]

    @Test("the same plan goes on to the same bits", arguments: moments, ["parallel_adapters", "lora"])
    func theSamePlanGoesOnToTheSameBits(_ step: Int, _ technique: String) throws {
        let workshop = try Workshop()
        var settings = Self.settings
        if technique == "lora" { settings.append(#"technique={"kind":"lora","rank":4,"dropout":0.1}"#) }
        settings.append("training.dropout=0.1")
        let whole = try workshop.train(ranks: 4, "whole", plan: Self.pairs, settings: settings)
        let lastStep = try workshop.trainAndKill(
            ranks: 4, "cut", plan: Self.pairs, settings: settings, afterStep: step)
        let resumed = try workshop.resume(ranks: 4, "cut", plan: Self.pairs, settings: settings)
        #expect(try resumed.losses() == whole.losses())
        #expect(try resumed.metrics() == whole.metrics())
        #expect(
            try workshop.read("cut/adapter/adapter_model.safetensors")
                == workshop.read("whole/adapter/adapter_model.safetensors"))
        let losses = { (run: RunLog) in run.events("epoch").map { $0["train_loss"]?.number } }
        #expect(losses(resumed) == losses(whole))
        #expect(!workshop.exists("cut/cache"))
        let event = try #require(resumed.events("resume").first)
        // Nothing beyond the last checkpoint interval is lost, and the number of parameters is told.
        let from = try #require(event["step"]?.integer)
        #expect(from >= lastStep - 3 - 1 && from <= lastStep + 1)
        #expect(
            event["trainable_parameters"] == resumed.events("start")[0]["trainable_parameters"])
        #expect(event["epoch"]?.integer == from / 14 + 1 || from % 14 == 0)
    }

    @Test(
        "what a file lost in the first epoch held is computed again under the same plan",
        arguments: ["1f1b", "streaming"])
    func whatAFileLostInTheFirstEpochHeldIsComputedAgain(_ schedule: String) throws {
        let workshop = try Workshop()
        let settings = Self.settings + ["parallelism.schedule=\(schedule)"]
        let whole = try workshop.train(ranks: 4, "whole", plan: Self.pairs, settings: settings)
        _ = try workshop.trainAndKill(
            ranks: 4, "cut", plan: Self.pairs, settings: settings, afterStep: 8)
        let lost = try workshop.names(in: "cut/cache").filter { $0.hasPrefix("rank-0002") }
        #expect(!lost.isEmpty)
        for name in lost { try workshop.remove("cut/cache/\(name)") }
        let resumed = try workshop.resume(ranks: 4, "cut", plan: Self.pairs, settings: settings)
        #expect(largestDifference(try resumed.losses(), try whole.losses()) < 1e-5)
        #expect(!resumed.events("activations").isEmpty)
        #expect(!workshop.exists("cut/cache"))
    }

    @Test("a streaming run goes on, under its plan or another")
    func aStreamingRunGoesOnUnderItsPlanOrAnother() throws {
        let workshop = try Workshop()
        let settings = Self.settings + ["parallelism.schedule=streaming"]
        let whole = try workshop.train(ranks: 4, "whole", plan: Self.pairs, settings: settings)
        for (ranks, plan) in [(4, Self.pairs), (3, Self.three)] {
            _ = try workshop.trainAndKill(
                ranks: 4, "cut-\(ranks)", plan: Self.pairs, settings: settings, afterStep: 5)
            let resumed = try workshop.resume(ranks: ranks, "cut-\(ranks)", plan: plan, settings: settings)
            #expect(largestDifference(try resumed.losses(), try whole.losses()) < 1e-5)
            let event = try #require(resumed.events("resume").first)
            #expect(event["recomputed_samples"]?.integer == 0)
            #expect(!workshop.exists("cut-\(ranks)/cache"))
        }
    }

    @Test("other ranks and another plan reach the same losses", arguments: moments)
    func otherRanksAndAnotherPlanReachTheSameLosses(_ step: Int) throws {
        let workshop = try Workshop()
        let whole = try workshop.train(ranks: 4, "whole", plan: Self.pairs, settings: Self.settings)
        _ = try workshop.trainAndKill(
            ranks: 4, "cut", plan: Self.pairs, settings: Self.settings, afterStep: step)
        let resumed = try workshop.resume(ranks: 3, "cut", plan: Self.three, settings: Self.settings)
        #expect(largestDifference(try resumed.losses(), try whole.losses()) < 1e-5)
        let event = try #require(resumed.events("resume").first)
        #expect(event["ranks"]?.integer == 3)
        // A checkpoint comes after the activations of its steps are safe.
        #expect(event["recomputed_samples"]?.integer == 0)
        if step < 14 {
            #expect(try #require(event["reused_samples"]?.integer) >= (step - 3) * Workshop.miniBatchSize)
        }
        #expect(!workshop.exists("cut/cache"))
    }

    @Test("what a lost or damaged cache file held is computed again")
    func whatALostOrDamagedCacheFileHeldIsComputedAgain()
        throws
    {
        let workshop = try Workshop()
        let settings = Self.settings + ["training.epochs=30"]
        let whole = try workshop.train(ranks: 4, "whole", plan: Self.pairs, settings: settings)
        _ = try workshop.trainAndKill(
            ranks: 4, "cut", plan: Self.pairs, settings: settings, afterStep: 40)
        // One host is gone with its disk; on another a file has rotted, and a third was cut short by a crash.
        try workshop.remove("cut/cache/rank-0003.h5")
        var bytes = try workshop.read("cut/cache/rank-0001.h5")
        for index in stride(from: bytes.count / 2, to: bytes.count * 3 / 4, by: 997) { bytes[index] ^= 0x55 }
        try workshop.write(bytes, to: "cut/cache/rank-0001.h5")
        try workshop.write(
            Array(try workshop.read("cut/cache/rank-0002.h5").prefix(3000)), to: "cut/cache/rank-0002.h5")
        let resumed = try workshop.resume(ranks: 3, "cut", plan: Self.three, settings: settings)
        #expect(largestDifference(try resumed.losses(), try whole.losses()) < 1e-5)
        let event = try #require(resumed.events("resume").first)
        let all = Workshop.trainCount + Workshop.validationCount
        let (reused, recomputed) = (
            try #require(event["reused_samples"]?.integer), try #require(event["recomputed_samples"]?.integer)
        )
        // Rank 0's file is whole, rank 1's in part.
        #expect(reused >= all / 4 && reused < all * 3 / 4 && reused + recomputed == all)
    }

    @Test("settings that differ, or a cache of other data, are refused by name")
    func settingsThatDifferOrACacheOfOtherDataAreRefusedByName() throws {
        let workshop = try Workshop()
        let settings = Self.settings + ["training.epochs=30"]
        _ = try workshop.trainAndKill(
            ranks: 2, "cut", plan: Self.two, settings: settings, afterStep: 20)
        func refusal(_ changes: [String]) throws -> String {
            let outcome = try workshop.run(
                ranks: 2,
                ["train", workshop.experiment, "--resume"]
                    + Workshop.arguments(
                        settings + ["output.directory=\(workshop.path)/cut"] + changes, plan: Self.two))
            #expect(outcome.status == 2)
            return outcome.errors
        }
        #expect(
            try refusal(["training.learning_rate=0.5"]).contains("training.learning_rate: expected 0.0003"))
        #expect(
            try refusal(["technique.reduction_factor=8"]).contains("technique.reduction_factor: expected 4"))
        #expect(try refusal(["cache.precision=float16"]).contains("cache.precision: expected \"float32\""))
        let rows = String(decoding: try workshop.read("train.jsonl"), as: UTF8.self).split(separator: "\n")
        try workshop.write(rows.reversed().joined(separator: "\n") + "\n", to: "train.jsonl")
        #expect(try refusal([]).contains("task.train and task.validation: expected the hash"))
        try workshop.write(rows.joined(separator: "\n") + "\n", to: "train.jsonl")
        // A checkpoint that is damaged is named, not passed over.
        let name = "cut/checkpoints/rank-0000.safetensors"
        let checkpoint = try workshop.read(name)
        try workshop.write(Array(checkpoint.prefix(100)), to: name)
        #expect(try refusal([]).contains("rank-0000.safetensors: truncated"))
        try workshop.write(checkpoint, to: name)
        _ = try workshop.resume(ranks: 2, "cut", plan: Self.two, settings: settings)
    }

    static let two = Plan.of([(0..<2, [0], [8]), (2..<5, [1], [8])], microBatchCount: 1)

    @Test("nothing to resume, and nothing left to do") func nothingToResumeAndNothingLeftToDo() throws {
        let workshop = try Workshop()
        let whole = try workshop.train(ranks: 2, "whole", plan: Self.two)
        let begun = try workshop.resume(ranks: 2, "run", plan: Self.two, settings: [])
        #expect(try begun.losses() == whole.losses() && begun.events("resume").isEmpty)
        let before = try workshop.read("run/metrics.jsonl")
        let outcome = try workshop.run(
            ranks: 2,
            ["train", workshop.experiment, "--resume"]
                + Workshop.arguments(["output.directory=\(workshop.path)/run"], plan: Self.two))
        #expect(outcome.status == 0 && outcome.output.contains("is complete, after 42 steps"))
        #expect(try workshop.read("run/metrics.jsonl") == before)
    }
}

extension Workshop {
    /// Starts a run, kills all of its ranks as soon as it has logged a step, and tells the last step that it logged.
    ///
    /// A run that came to its end before the kill is made again; after several of them this throws.
    func trainAndKill(
        ranks: Int, _ name: String, plan: Plan, settings: [String], afterStep step: Int
    ) throws -> Int {
        let log = "\(path)/\(name)/metrics.jsonl"
        let arguments =
            ["train", experiment]
            + Self.arguments(settings + ["output.directory=\(path)/\(name)"], plan: plan)
        for _ in 0..<5 {
            if exists(name) { try remove(name) }
            let outcome = try mpirun(ranks: ranks, program, arguments, seconds: 60) { launcher in
                // Found before the moment comes, so that the kill takes no time then.
                var processes: [Int32] = []
                let deadline = Date(timeIntervalSinceNow: 30)
                while Date() < deadline {
                    if fileExists(log) {
                        if processes.isEmpty { processes = try children(of: launcher) }
                        let text = String(decoding: try readFile(log), as: UTF8.self)
                        if text.contains("\"step\":\(step),") { break }
                    }
                    usleep(1000)
                }
                for process in processes { kill(process, SIGKILL) }
            }
            try #require(fileExists(log), "\(name): \(outcome.errors)")
            let events = try RunLog("\(path)/\(name)")
            let last = events.events("step").last?["step"]?.integer ?? 0
            try #require(last >= step, "\(name): \(outcome.errors)")
            if outcome.status != 0, events.events("end").isEmpty { return last }
        }
        throw LaunchError("\(name): came to its end five times before it could be killed after step \(step)")
    }

    /// Goes on with a run to its end and reads what it logged.
    func resume(ranks: Int, _ name: String, plan: Plan, settings: [String]) throws -> RunLog {
        let outcome = try run(
            ranks: ranks,
            ["train", experiment, "--resume"]
                + Self.arguments(settings + ["output.directory=\(path)/\(name)"], plan: plan))
        try #require(outcome.status == 0, "\(name): \(outcome.errors)")
        return try RunLog("\(path)/\(name)")
    }
}
