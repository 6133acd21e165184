import Foundation
import HDF5
import Launching
import Models
import PlanExamples
import Plans
import Support
import Testing
import TinyRuns

/// New adapters from a kept cache: the numbers of a training run, without the model's weights.
@Suite(.serialized) struct ReplayTests {
    private static let pairs = Plan.of(
        [(0..<3, [0, 1], [3, 1]), (3..<5, [2, 3], [2, 2])], microBatchCount: 2)

    /// A workshop with a run whose cache was kept.
    private func keeping(_ settings: [String] = []) throws -> Workshop {
        let workshop = try Workshop()
        _ = try workshop.train(ranks: 4, "kept", plan: Self.pairs, settings: settings + ["cache.keep=true"])
        return workshop
    }

    private func replay(_ workshop: Workshop, ranks: Int, _ arguments: [String] = []) throws -> Outcome {
        try workshop.run(ranks: ranks, ["replay", "\(workshop.path)/kept"] + arguments)
    }

    @Test("a replay is the training run with the same settings, on any number of ranks")
    func aReplayIsTheTrainingRunWithTheSameSettings() throws {
        let workshop = try keeping()
        let other = ["training.learning_rate=0.002", "training.seed=7", "training.epochs=2"]
        let trained = try workshop.train(ranks: 4, "other", plan: Self.pairs, settings: other)
        let before = try workshop.names(in: "kept/cache")
        // Without the model's weights, which nobody needs.
        try workshop.remove("model/model.safetensors")
        for ranks in [1, 3, 4] {
            let name = "same-\(ranks)"
            let same = try replay(
                workshop, ranks: ranks, ["--set", "output.directory=\(workshop.path)/\(name)"])
            try #require(same.status == 0, "\(same.errors)")
            let first = try RunLog("\(workshop.path)/\(name)")
            let kept = try RunLog("\(workshop.path)/kept")
            #expect(largestDifference(try first.losses(), try kept.losses()) < 1e-5)
            #expect(try first.metrics() == kept.metrics())
            #expect(first.events("step", "cached").count == 42)
            // Another seed deals the samples otherwise: they move, or are read where they lie.
            let outcome = try replay(
                workshop, ranks: ranks,
                other.flatMap { ["--set", $0] } + [
                    "--set", "output.directory=\(workshop.path)/seed-\(ranks)",
                ])
            try #require(outcome.status == 0, "\(outcome.errors)")
            let second = try RunLog("\(workshop.path)/seed-\(ranks)")
            #expect(largestDifference(try second.losses(), try trained.losses()) < 1e-5)
        }
        #expect(try workshop.names(in: "kept/cache") == before)
    }

    /// What was pruned for one factor is pruned further for its multiples, as if the model were there.
    @Test("a multiple of the reduction factor", arguments: [TinyModel.bertClassifier, .llama])
    func aMultipleOfTheReductionFactor(_ model: TinyModel) throws {
        let workshop = try Workshop(model, model == .llama ? .text : .classification)
        let plan = Plan.of([(0..<5, [0], [8])], microBatchCount: 1)
        let (first, second) = ("technique.reduction_factor=2", "technique.reduction_factor=4")
        _ = try workshop.train("kept", plan: plan, settings: [first, "cache.keep=true"])
        let trained = try workshop.train("other", plan: plan, settings: [second])
        try workshop.remove("model/model.safetensors")
        let outcome = try replay(workshop, ranks: 1, ["--set", second])
        try #require(outcome.status == 0, "\(outcome.errors)")
        let replayed = try RunLog("\(workshop.path)/kept-replay")
        #expect(largestDifference(try replayed.losses(), try trained.losses()) < 1e-5)
    }

    @Test("a sweep trains every combination and ends with a table") func aSweepTrainsEveryCombination() throws
    {
        let workshop = try keeping()
        let outcome = try replay(
            workshop, ranks: 2,
            ["--sweep", "training.learning_rate=0.001,0.003", "--sweep", "training.seed=1,2", "--json"])
        try #require(outcome.status == 0, "\(outcome.errors)")
        let table = try JSONValue(
            parsing: Array(try #require(outcome.lines.last).utf8), file: "output")
        let rows = try #require(table.array)
        #expect(rows.map { $0["training.learning_rate"]?.string } == ["0.001", "0.001", "0.003", "0.003"])
        #expect(rows.map { $0["training.seed"]?.string } == ["1", "2", "1", "2"])
        for row in rows {
            let run = try RunLog(try #require(row["directory"]?.string))
            #expect(row["metrics"]?["accuracy"]?.number == (try run.metrics()).last?["accuracy"])
        }
        #expect(
            rows.map { $0["directory"]?.string }
                == ["", "-2", "-3", "-4"].map { "\(workshop.path)/kept-replay\($0)" })
    }

    @Test("a cache that does not belong is refused with the field that differs")
    func aCacheThatDoesNotBelongIsRefused() throws {
        let workshop = try keeping()
        func refusal(_ arguments: [String] = []) throws -> String {
            let outcome = try replay(workshop, ranks: 2, arguments)
            #expect(outcome.status == 2)
            #expect(outcome.lines.isEmpty)
            return outcome.errors
        }
        #expect(
            try refusal(["--set", "task.max_sequence_length=20"]).contains("max_sequence_length: expected 20")
        )
        #expect(
            try refusal(["--set", "cache.precision=bfloat16"]).contains("precision: expected \"bfloat16\""))
        #expect(
            try refusal(["--set", "technique.reduction_factor=2"]).contains(
                "technique.reduction_factor: expected 4 or a multiple"))
        #expect(try refusal(["--set", "technique.kind=lora"]).contains("technique"))
        let rows = try workshop.read("train.jsonl")
        try workshop.write(
            rows + Array("{\"text\": \"one more\", \"label\": \"calm\"}\n".utf8), to: "train.jsonl")
        #expect(try refusal().contains("data_hash: expected"))
        try workshop.write(rows, to: "train.jsonl")
        let tokenizer = String(decoding: try workshop.read("model/tokenizer.json"), as: UTF8.self)
        try workshop.write(
            tokenizer.replacingOccurrences(of: "\"lowercase\": true", with: "\"lowercase\": false"),
            to: "model/tokenizer.json")
        if try String(decoding: workshop.read("model/tokenizer.json"), as: UTF8.self) != tokenizer {
            #expect(try refusal().contains("_hash: expected"))
        }
        try workshop.write(tokenizer, to: "model/tokenizer.json")
        let configuration = try workshop.read("model/config.json")
        try workshop.write(configuration + [10], to: "model/config.json")
        #expect(try refusal().contains("model_hash: expected"))
        try workshop.write(configuration, to: "model/config.json")
        // Not a sample less than all.
        try workshop.remove("kept/cache/rank-0002.h5")
        #expect(try refusal().contains("expected all \(Workshop.trainCount) samples"))
    }

    @Test("a damaged sample is named") func aDamagedSampleIsNamed() throws {
        let workshop = try keeping()
        // One token's row of activations, wherever it lies in the file.
        let name = "kept/cache/rank-0001.h5"
        let file = try H5File.openForReading("\(workshop.path)/\(name)")
        let dataset = try file.openDataset("/train/encoder/activations")
        var row = [UInt8](repeating: 0, count: dataset.rowByteCount)
        try row.withUnsafeMutableBytes { try dataset.read(rows: 5..<6, into: $0) }
        try file.close()
        var bytes = Data(try workshop.read(name))
        let place = try #require(bytes.range(of: Data(row)))
        bytes[place.lowerBound + 7] ^= 1
        try workshop.write(Array(bytes), to: name)
        let outcome = try replay(workshop, ranks: 2)
        #expect(outcome.status == 1)
        #expect(outcome.errors.contains("rank-0001.h5") && outcome.errors.contains("checksum"))
    }

    @Test("no cache was kept") func noCacheWasKept() throws {
        let workshop = try Workshop()
        _ = try workshop.train(ranks: 4, "kept", plan: Self.pairs)
        let outcome = try replay(workshop, ranks: 2)
        #expect(outcome.status == 2 && outcome.errors.contains("cache.keep=true"))
    }
}
