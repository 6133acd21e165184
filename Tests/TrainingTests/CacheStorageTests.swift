import Foundation
import HDF5
import Launching
import Models
import PlanExamples
import Plans
import Support
import Testing
import TinyRuns
import WeightFiles

/// How a cache lies on the disk: its precisions, its budget, and who may read it.
@Suite(.serialized) struct CacheStorageTests {
    private static let alone = Plan.of([(0..<5, [0], [8])], microBatchCount: 1)
    private static let pairs = Plan.of(
        [(0..<3, [0, 1], [3, 1]), (3..<5, [2, 3], [2, 2])], microBatchCount: 2)

    /// The stored numbers of a kept cache as words, and the shape's width.
    private func words(_ workshop: Workshop, _ run: String, _ type: H5ElementType) throws -> [UInt16] {
        let file = try H5File.openForReading("\(workshop.path)/\(run)/cache/rank-0000.h5")
        let dataset = try file.openDataset("/train/encoder/activations", type: type)
        var words = [UInt16](repeating: 0, count: dataset.rowCount * dataset.rowByteCount / 2)
        try words.withUnsafeMutableBytes { try dataset.read(rows: 0..<dataset.rowCount, into: $0) }
        return words
    }

    @Test(
        "a stream needs a cache",
        arguments: [
            ("without a cache", "cache.enabled=false"),
            (#"with technique "lora""#, #"technique={"kind": "lora"}"#),
        ])
    func aStreamNeedsACache(_ expected: String, _ setting: String) throws {
        let workshop = try Workshop()
        let outcome = try workshop.run(
            ["train", workshop.experiment]
                + Workshop.arguments(["parallelism.schedule=streaming", setting]))
        #expect(outcome.status == 2)
        #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
        #expect(
            outcome.errors.contains(#"parallelism.schedule: expected "1f1b" \#(expected)"#),
            "\(outcome.errors)")
        #expect(outcome.errors.contains(#"found the string "streaming""#), "\(outcome.errors)")
        #expect(!workshop.exists("run"))
    }

    @Test("half the bytes hold the nearest numbers", arguments: ["float16", "bfloat16"])
    func halfTheBytesHoldTheNearestNumbers(_ precision: String) throws {
        let workshop = try Workshop()
        let settings = ["cache.keep=true", "training.epochs=2"]
        let full = try workshop.train("full", plan: Self.alone, settings: settings)
        let half = try workshop.train(
            "half", plan: Self.alone, settings: settings + ["cache.precision=\(precision)"])
        let file = try H5File.openForReading("\(workshop.path)/full/cache/rank-0000.h5")
        let numbers = try file.openDataset("/train/encoder/activations", type: .float32)
        var exact = [Float](repeating: 0, count: numbers.rowCount * numbers.rowByteCount / 4)
        try exact.withUnsafeMutableBytes { try numbers.read(rows: 0..<numbers.rowCount, into: $0) }
        let stored = try words(workshop, "half", precision == "float16" ? .float16 : .uint16)
        try #require(stored.count == exact.count && !exact.isEmpty)
        for (word, number) in zip(stored, exact) {
            #if arch(arm64) || arch(x86_64)
                let expected: UInt16 =
                    precision == "float16" ? Self.half(number) : Self.brain(number)
            #endif
            #expect(word == expected)
            if word != expected { break }
        }
        // The first epoch is exact; what comes from the cache is near.
        let (a, b) = (try full.losses(), try half.losses())
        #expect(Array(a.prefix(14)) == Array(b.prefix(14)))
        let difference = largestDifference(Array(a.dropFirst(14)), Array(b.dropFirst(14)))
        #expect(difference > 0 && difference < 5e-3)
    }

    /// IEEE half precision, round to nearest even, by counting in double precision.
    private static func half(_ number: Float) -> UInt16 {
        let magnitude = abs(Double(number))
        let sign: UInt16 = number.sign == .minus ? 0x8000 : 0
        let exponent = max(-14, magnitude == 0 ? -14 : Int(log2(magnitude).rounded(.down)))
        let steps = (magnitude / pow(2, Double(exponent - 10))).rounded(.toNearestOrEven)
        let bits = exponent == -14 ? Int(steps) : (exponent + 15 - 1) * 1024 + Int(steps)
        return sign | UInt16(bits)
    }

    /// The upper half of a float32, round to nearest even.
    private static func brain(_ number: Float) -> UInt16 {
        let candidates = [number.bitPattern & 0xFFFF_0000, (number.bitPattern & 0xFFFF_0000) &+ 0x1_0000]
        let distances = candidates.map { abs(Double(Float(bitPattern: $0)) - Double(number)) }
        let upper = candidates.map { UInt16($0 >> 16) }
        if distances[0] == distances[1] { return upper[0] % 2 == 0 ? upper[0] : upper[1] }
        return distances[0] < distances[1] ? upper[0] : upper[1]
    }

    @Test("a number that float16 cannot hold ends the run and is named") func aNumberThatFloat16CannotHold()
        throws
    {
        let workshop = try Workshop(.t5, .textToText)
        // T5's embedding is what the cache has first, without a norm.
        let path = "\(workshop.path)/model/model.safetensors"
        let file = try SafetensorsFile(path)
        let tensors = try file.entries.keys.sorted().map { name in
            let scale: Float = name == "shared.weight" ? 1e6 : 1
            return (
                name: name, shape: file.entries[name]!.shape, values: try file.floats(name).map { $0 * scale }
            )
        }
        try writeSafetensors(tensors, to: path)
        let plan = Plan.of([(0..<7, [0], [8])], microBatchCount: 1)
        func outcome(_ precision: String) throws -> Outcome {
            try workshop.run(
                ["train", workshop.experiment]
                    + Workshop.arguments(
                        [
                            "cache.precision=\(precision)", "task.validation=null", "training.epochs=2",
                            "output.directory=\(workshop.path)/\(precision)",
                        ], plan: plan))
        }
        let refused = try outcome("float16")
        #expect(refused.status == 1)
        #expect(
            refused.errors.contains(
                "cache.precision: expected activations that float16 holds, up to 65504, found"))
        #expect(try outcome("bfloat16").status == 0)
    }

    @Test("a small budget changes nothing but the time") func aSmallBudgetChangesNothingButTheTime() throws {
        let workshop = try Workshop()
        let whole = try workshop.train(ranks: 4, "whole", plan: Self.pairs)
        let all = whole.events("step", "pipeline").reduce(0) { $0 + $1["tokens"]!.integer! } * 4 * 32 * 4
        // Room for about a third of what each rank would write, a window of which is for the rest.
        let outcome = try workshop.run(
            ranks: 4,
            ["train", workshop.experiment]
                + Workshop.arguments(
                    ["cache.budget_bytes=\(all * 3 / 8)", "output.directory=\(workshop.path)/small"],
                    plan: Self.pairs))
        try #require(outcome.status == 0, "\(outcome.errors)")
        #expect(outcome.output.contains("of the training samples stay"))
        let small = try RunLog("\(workshop.path)/small")
        #expect(largestDifference(try small.losses(), try whole.losses()) < 1e-5)
        #expect(
            largestDifference(
                try small.metrics().map { $0["mean"]! }, try whole.metrics().map { $0["mean"]! }) < 1e-5)
        #expect(
            try #require(small.events("redistribution")[0]["bytes"]?.integer)
                < (try #require(whole.events("redistribution")[0]["bytes"]?.integer)) / 2)
        #expect(!workshop.exists("small/cache"))
        let refused = try workshop.run(
            ranks: 4,
            ["train", workshop.experiment]
                + Workshop.arguments(
                    ["cache.budget_bytes=1000", "output.directory=\(workshop.path)/none"], plan: Self.pairs))
        #expect(
            refused.status == 2 && refused.errors.contains("cache.budget_bytes: expected room for at least"))
        #expect(!workshop.exists("none"))
    }

    @Test("only their owner can read the files") func onlyTheirOwnerCanReadTheFiles() throws {
        let workshop = try Workshop()
        _ = try workshop.train(
            ranks: 4, "run", plan: Self.pairs, settings: ["cache.keep=true", "training.epochs=2"])
        func mode(_ name: String) throws -> Int {
            let attributes = try FileManager.default.attributesOfItem(atPath: "\(workshop.path)/\(name)")
            return try #require(attributes[.posixPermissions] as? Int)
        }
        #expect(try mode("run/cache") == 0o700)
        for rank in 0..<4 { #expect(try mode("run/cache/rank-000\(rank).h5") == 0o600) }
    }
}
