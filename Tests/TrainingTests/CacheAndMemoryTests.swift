import Models
import PlanExamples
import Plans
import Support
import Testing
import TinyRuns
import WeightFiles

/// What a run keeps in memory and on disk: the backbone goes after the first epoch, and the cache after the
/// last.
@Suite(.serialized) struct CacheAndMemoryTests {
    private static let pairs = Plan.of(
        [(0..<3, [0, 1], [3, 1]), (3..<5, [2, 3], [2, 2])], microBatchCount: 2)
    private static let together = Plan.of([(0..<5, [0, 1, 2, 3], [2, 2, 2, 2])], microBatchCount: 1)

    private func weights(_ run: RunLog, _ phase: String) throws -> [Int] {
        let events = run.events("memory", phase)
        #expect(events.map { $0["rank"]?.integer } == (0..<events.count).map { $0 })
        return try events.map { try #require($0["peak_bytes"]?["weights"]?.integer) }
    }

    @Test("a large mini-batch is trained from the cache in parts") func aLargeMiniBatchIsTrainedInParts()
        throws
    {
        let workshop = try Workshop()
        let rows = try workshop.read("train.jsonl")
        try workshop.write(Array([[UInt8]](repeating: rows, count: 4).joined()), to: "large.jsonl")
        let settings = [
            "task.train=\(workshop.path)/large.jsonl", "training.mini_batch_size=300",
            "training.micro_batch_count=1",
        ]
        let plans = [[300], [150, 150]].map { Plan.of([(0..<5, Array($0.indices), $0)], microBatchCount: 1) }
        let expected = try workshop.train(
            "whole", plan: plans[0], settings: settings + ["cache.enabled=false"])
        #expect(expected.events("step").allSatisfy { $0["phase"]?.string == "pipeline" })
        for (index, plan) in plans.enumerated() {
            let run = try workshop.train(
                ranks: index + 1, "parts-\(index)", plan: plan, settings: settings)
            #expect(!run.events("step", "cached").isEmpty)
            #expect(largestDifference(try run.losses(), try expected.losses()) < 1e-5)
            #expect(try run.metrics() == expected.metrics())
            // Through the stages it is one micro-batch.
            let trace = String(decoding: try readFile("\(run.directory)/trace.json"), as: UTF8.self)
            #expect(trace.contains(#""F1""#))
        }
        // The products are large enough for several threads.
        for threads in ["3", "auto"] {
            let run = try workshop.train(
                "threads-\(threads)", plan: plans[0], settings: settings + ["device.threads=\(threads)"])
            #expect(largestDifference(try run.losses(), try expected.losses()) < 1e-5)
            #expect(try run.metrics() == expected.metrics())
        }
    }

    @Test("the backbone's weights go, and samples move between stages")
    func theBackbonesWeightsGoAndSamplesMoveBetweenStages() throws {
        let workshop = try Workshop()
        let pairs = try workshop.train(ranks: 4, "pairs", plan: Self.pairs)
        let together = try workshop.train(ranks: 4, "together", plan: Self.together)

        // The whole checkpoint on every rank of one stage; a slice of it on each of two.
        let whole = try SafetensorsFile("\(workshop.path)/model/model.safetensors").entries.values.reduce(0) {
            $0 + $1.count * 4
        }
        for bytes in try weights(together, "pipeline") { #expect(bytes > whole * 9 / 10) }
        // The first stage holds the embeddings of all tokens.
        let slices = try weights(pairs, "pipeline")
        #expect(slices.count == 4)
        #expect(slices[0] == slices[1] && slices[2] == slices[3])
        #expect(slices[0] < whole && slices[2] < whole / 2)
        for run in [pairs, together] {
            let (before, after) = (try weights(run, "pipeline"), try weights(run, "cached"))
            #expect(after.count == 4)
            // What is left is what is trained, and the frozen pooler of the head: 32 x 32 and 32 numbers.
            let trained = try #require(run.events("start")[0]["trainable_parameters"]?.integer)
            for (old, new) in zip(before, after) {
                #expect(new == 4 * (trained + 32 * 32 + 32), "\(old) -> \(new)")
                #expect(new < old)
            }
            for event in run.events("memory") {
                let peaks = try #require(event["peak_bytes"]?.members)
                let total = try #require(event["peak_bytes"]?["total"]?.integer)
                #expect(peaks.allSatisfy { $0.key == "total" || $0.value.integer! <= total })
                #expect(try #require(event["peak_rss_bytes"]?.integer) > total)
            }
        }

        func moved(_ run: RunLog) throws -> Int {
            let events = run.events("redistribution")
            try #require(events.count == 1)
            return try #require(events[0]["bytes"]?.integer)
        }
        // One stage: every rank computed all layers of its own samples, and nothing has to move.
        #expect(try moved(together) == 0)
        // All activations are some tokens x 4 layers (of the embedding and three blocks) x 32 numbers; most
        // must move.
        let tokens = pairs.events("step", "pipeline").reduce(0) { $0 + $1["tokens"]!.integer! }
        let all = tokens * 4 * 32 * 4
        #expect(try moved(pairs) > all / 4)
        #expect(try moved(pairs) < all * 2)
        for run in ["pairs", "together"] { #expect(!workshop.exists("\(run)/cache")) }
    }

    @Test("a kept cache has the documented form") func aKeptCacheHasTheDocumentedForm() throws {
        let workshop = try Workshop()
        let settings = ["cache.keep=true", "training.epochs=2"]
        _ = try workshop.train(ranks: 4, "run", plan: Self.pairs, settings: settings)
        #expect(
            try workshop.names(in: "run/cache")
                == ["classifier.safetensors", "frozen.safetensors"] + (0..<4).map { "rank-000\($0).h5" } + [
                    "side-initial.safetensors"
                ])

        var seen: [Int] = []
        for rank in 0..<4 {
            let outcome = try workshop.run([
                "inspect", "\(workshop.path)/run/cache/rank-000\(rank).h5", "--json",
            ])
            try #require(outcome.status == 0, "\(outcome.errors)")
            let file = try JSONValue(parsing: Array(outcome.output.utf8), file: "output")
            let attributes = try #require(file["attributes"])
            #expect(attributes["format_version"]?.integer == 1)
            #expect(attributes["family"]?.string == "bert")
            #expect(attributes["layers"]?.integer == 4)
            #expect(attributes["precision"]?.string == "float32")
            #expect(attributes["max_sequence_length"]?.integer == 24)
            #expect(attributes["rank"]?.integer == rank)
            #expect(attributes["world_size"]?.integer == 4)
            #expect(attributes["complete"] == .bool(true))
            for name in ["model_hash", "tokenizer_hash", "data_hash"] {
                #expect(attributes[name]?.string?.isEmpty == false)
            }
            let shapes = try #require(file["datasets"])
            func shape(_ name: String) throws -> [Int] {
                try #require(shapes[name]?.array, "\(name)").map { try #require($0.integer) }
            }
            for split in ["train", "validation"] {
                let activations = try shape("/\(split)/encoder/activations")
                #expect(Array(activations.dropFirst()) == [4, 32])
                let samples = try shape("/\(split)/sample_ids")[0]
                #expect(try shape("/\(split)/encoder/offsets") == [samples + 1])
                #expect(try shape("/\(split)/crc32c") == [samples])
                #expect(try shape("/\(split)/labels") == [samples])
                #expect(try shape("/\(split)/token_ids") == [activations[0]])
                let listed = try #require(file["splits"]?[split])
                #expect(listed["layers"]?["encoder"]?.array?.map(\.integer) == [0, 4])
                let ids = try #require(listed["sample_ids"]?.array).map { try #require($0.integer) }
                #expect(ids.count == samples)
                if split == "train" { seen += ids }
            }
        }
        // Each sample is with one rank.
        #expect(seen.sorted() == Array(0..<Workshop.trainCount))

        let side = try SafetensorsFile("\(workshop.path)/run/cache/side-initial.safetensors")
        #expect(!side.entries.isEmpty)
        // Beside them what their parts weigh, for those who prune further.
        let names = side.entries.keys.filter { !$0.hasPrefix("ranking.") }
        #expect(names.count < side.entries.count && names.allSatisfy { $0.hasPrefix("side.") })
        let adapter = try SafetensorsFile("\(workshop.path)/run/adapter/adapter_model.safetensors")
        #expect(Set(names) == Set(adapter.entries.keys.filter { $0.hasPrefix("side.") }))
        // The start, not the end: training moved the gates, and the tensors hold the values of before.
        let down = try #require(side.entries.keys.first { $0.hasSuffix("down.0.weight") })
        #expect(try side.floats(down) != adapter.floats(down))
        let frozen = try SafetensorsFile("\(workshop.path)/run/cache/frozen.safetensors")
        #expect(frozen.entries.keys.contains { $0.contains("pooler") })
    }

    /// The samples that were never computed are not looked for when the others change hands.
    @Test("a run that ends within its first epoch") func aRunThatEndsWithinItsFirstEpoch() throws {
        let workshop = try Workshop()
        let settings = ["training.max_steps=3"]
        let run = try workshop.train(ranks: 4, "run", plan: Self.pairs, settings: settings)
        #expect(run.events("step", "pipeline").count == 3 && run.events("step").count == 3)
        #expect(run.events("evaluation").count == 1)
        #expect(workshop.exists("run/adapter/adapter_model.safetensors") && !workshop.exists("run/cache"))

        let kept = try workshop.train(
            ranks: 4, "kept", plan: Self.pairs, settings: settings + ["cache.keep=true"])
        #expect(try kept.losses() == run.losses())
        var samples = 0
        for rank in 0..<4 {
            let outcome = try workshop.run([
                "inspect", "\(workshop.path)/kept/cache/rank-000\(rank).h5", "--json",
            ])
            let file = try JSONValue(parsing: Array(outcome.output.utf8), file: "output")
            #expect(file["attributes"]?["complete"] == .bool(false))
            samples += try #require(file["datasets"]?["/train/sample_ids"]?.array?[0].integer)
        }
        #expect(samples == 3 * Workshop.miniBatchSize)
    }

    @Test("a decoder's cache has both stacks and the targets") func aDecodersCacheHasBothStacksAndTheTargets()
        throws
    {
        let workshop = try Workshop(.t5, .textToText)
        // Inside the decoder; no validation, so that nothing has to be written.
        let plan = Plan.of([(0..<5, [0], [8]), (5..<7, [1], [8])], microBatchCount: 1)
        let settings = ["cache.keep=true", "training.epochs=2", "task.validation=null"]
        let run = try workshop.train(ranks: 2, "run", plan: plan, settings: settings)
        let trained = try #require(run.events("start")[0]["trainable_parameters"]?.integer)
        for (old, new) in zip(try weights(run, "pipeline"), try weights(run, "cached")) {
            // What is trained, the last norm, and the head's matrix of 384 x 48.
            #expect(new == 4 * (trained + 48 + 384 * 48), "\(old) -> \(new)")
            #expect(new < old)
        }
        var samples = 0
        for rank in 0..<2 {
            let outcome = try workshop.run([
                "inspect", "\(workshop.path)/run/cache/rank-000\(rank).h5", "--json",
            ])
            let file = try JSONValue(parsing: Array(outcome.output.utf8), file: "output")
            #expect(file["attributes"]?["layers"]?.integer == 7)
            func shape(_ name: String) throws -> [Int] {
                try #require(file["datasets"]?[name]?.array, "\(name)").map { try #require($0.integer) }
            }
            // b_0 to b_L of each stack.
            #expect(Array(try shape("/train/encoder/activations").dropFirst()) == [4, 48])
            #expect(Array(try shape("/train/decoder/activations").dropFirst()) == [3, 48])
            #expect(try shape("/train/target_ids") == [try shape("/train/decoder/activations")[0]])
            let count = try shape("/train/sample_ids")[0]
            #expect(try shape("/train/target_offsets") == [count + 1])
            #expect(try shape("/train/decoder/offsets") == [count + 1])
            samples += count
        }
        #expect(samples == Workshop.trainCount)
    }
}
