import Foundation
import Launching
import Support
import Testing
import TinyRuns

/// `doctor` and the handshake of the other commands, on real ranks.
@Suite(.serialized) struct DoctorTests {
    private static let program = builtExecutable("pac-mpi")

    private func json(_ text: String) throws -> JSONValue {
        try JSONValue(parsing: Array(text.utf8), file: "output")
    }

    /// CRC-32C, a table entry a byte: what iSCSI's standard (RFC 3720) defines, written apart from the program's own.
    private func checksum(_ path: String) throws -> String {
        var table: [UInt32] = []
        for byte in 0..<UInt32(256) {
            var value = byte
            for _ in 0..<8 { value = value & 1 == 1 ? (value >> 1) ^ 0x82F6_3B78 : value >> 1 }
            table.append(value)
        }
        var state = UInt32.max
        for byte in try readFile(path) { state = (state >> 8) ^ table[Int((state ^ UInt32(byte)) & 0xFF)] }
        let digits = String(state ^ UInt32.max, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    @Test("one table of one or four ranks, told once, and a verdict", arguments: [1, 4])
    func ranks(count: Int) throws {
        let workshop = try Workshop()
        let outcome = try workshop.run(ranks: count, ["doctor"])
        #expect(outcome.status == 0 && outcome.errors == "", "\(outcome.errors)")
        #expect(outcome.lines.count { $0.hasPrefix("rank  host") } == 1)
        #expect(outcome.lines.last?.hasPrefix("verdict: fit") == true)
        #expect(outcome.lines.contains { $0.hasPrefix("all ranks: pac-mpi ") } == true)

        let report = try json(try workshop.run(ranks: count, ["doctor", "--json"]).output)
        let ranks = try #require(report["ranks"]?.array)
        #expect(ranks.map { $0["rank"]?.integer } == Array(0..<count))
        let build = try checksum(Self.program)
        for rank in ranks {
            #expect(rank["build"]?["checksum"]?.string == build)
            #expect(rank["clock_seconds"]?.number == 0)
            #expect(rank["model"] == .null && rank["data"] == [])
        }
        let pairs = (0..<count).flatMap { low in (low + 1..<max(low + 1, count)).map { [low, $0] } }
        let links = try #require(report["links"]?.array)
        let measured = links.map { $0["ranks"]!.array!.map { $0.integer! } }
        #expect(measured.sorted { $0.lexicographicallyPrecedes($1) } == pairs)
        #expect(links.allSatisfy { $0["bandwidth"]!.number! > 1e6 && $0["latency_seconds"]!.number! < 1 })
    }

    @Test("an experiment's model, data and cache are looked at as well") func experiment() throws {
        let workshop = try Workshop()
        let alone = ["--set", "task.validation=null", "--set", "training.epochs=2"]
        let outcome = try workshop.run(ranks: 2, ["doctor", "--json", workshop.experiment] + alone)
        try #require(outcome.status == 0, "\(outcome.errors)")
        let report = try json(outcome.output)
        let data = try checksum("\(workshop.path)/train.jsonl")
        for rank in try #require(report["ranks"]?.array) {
            #expect(rank["data"] == [.string(data)])
            #expect(rank["model"]?.string?.isEmpty == false)
        }
        // Four activations (the embedding's and three blocks') of 32 channels in four bytes, for every token of an epoch.
        let run = try workshop.train("run", plan: .alone(layerCount: 5), settings: ["training.epochs=1"])
        let tokens = try run.events("step").reduce(0) { $0 + (try #require($1["tokens"]?.integer)) }
        #expect(report["cache_bytes"]?.integer == tokens * 4 * 32 * 4)

        try workshop.remove("train.jsonl")
        let unfit = try workshop.run(ranks: 2, ["doctor", workshop.experiment])
        #expect(unfit.status == 1)
        #expect(unfit.output.contains("problem: \(workshop.path)/train.jsonl: "), "\(unfit.output)")
        #expect(unfit.lines.last == "verdict: not fit")
        let wrong = try workshop.run(ranks: 2, ["doctor", workshop.experiment, "--set", "training.epochs=0"])
        #expect(wrong.status == 2 && wrong.errors.contains("training.epochs: expected "), "\(wrong.errors)")
        #expect(try workshop.run(["doctor", "--set", "training.epochs=1"]).status == 2)
    }

    @Test("two builds in one job: doctor says so, and no other command begins") func builds() throws {
        let workshop = try Workshop()
        // One byte behind the program's end changes the file and nothing that it does.
        try workshop.write(try readFile(Self.program) + [0], to: "other")
        let other = "\(workshop.path)/other"
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: other)
        let (expected, found) = (try checksum(Self.program), try checksum(other))
        func start(_ arguments: [String]) throws -> Outcome {
            try mpirun([(2, Self.program, arguments), (2, other, arguments)], seconds: 60)
        }
        let diagnosis = try start(["doctor"])
        #expect(diagnosis.status == 1)
        #expect(diagnosis.lines.last == "verdict: not fit")
        #expect(diagnosis.lines.count { $0.hasPrefix("problem: ranks 2, 3 (") } == 1)
        let adapter = ["--adapter", workshop.path]
        for command in [
            ["train", workshop.experiment], ["profile", workshop.experiment],
            ["evaluate", workshop.experiment] + adapter,
            ["predict", workshop.experiment, "--text", "x"] + adapter,
        ] {
            let outcome = try start(command)
            #expect(outcome.status == 2 && outcome.output == "", "\(outcome.output)")
            let lines = outcome.errors.split(separator: "\n")
            #expect(lines.count == 1, "\(outcome.errors)")
            #expect(lines[0].hasPrefix("pac-mpi: ranks 2, 3 ("))
            #expect(
                lines[0].contains("x86_64 \(expected), found ")
                    || lines[0].contains("arm64 \(expected), found "))
            #expect(lines[0].contains(found))
        }
        #expect(!workshop.exists("run"))
    }

    @Test("ranks with different arguments do not begin, whatever their commands") func arguments() throws {
        let workshop = try Workshop()
        let train = ["train", workshop.experiment]
        for (others, message) in [
            (train + ["--overwrite"], "no more, found \"--overwrite\""),
            (["doctor", workshop.experiment], "\"train\", found \"doctor\""),
        ] {
            let outcome = try mpirun(
                [(1, Self.program, train), (1, Self.program, others)], seconds: 30)
            #expect(outcome.status != 0)
            #expect(outcome.errors.contains("pac-mpi: rank 1 ("), "\(outcome.errors)")
            #expect(outcome.errors.contains(message), "\(outcome.errors)")
        }
        // Arguments that one rank alone cannot read end the others, which wait for it.
        let usage = try mpirun(
            [(1, Self.program, train), (1, Self.program, ["train", "--nonsense"])], seconds: 30)
        #expect(usage.status == 2)
        #expect(usage.errors.contains("pac-mpi: rank 1 ("), "\(usage.errors)")
        #expect(!workshop.exists("run"))
    }

    @Test("a model that differs on one rank, named with what was expected and found") func models() throws {
        let workshop = try Workshop()
        // Rank 1 runs in another directory, in which the same relative path is another model.
        try FileManager.default.createDirectory(
            atPath: "\(workshop.path)/elsewhere", withIntermediateDirectories: true)
        try FileManager.default.copyItem(
            atPath: "\(workshop.path)/model", toPath: "\(workshop.path)/elsewhere/model")
        var bytes = try workshop.read("model/model.safetensors")
        bytes[bytes.count - 1000] ^= 1
        try workshop.write(bytes, to: "elsewhere/model/model.safetensors")
        func start(_ command: String) throws -> Outcome {
            let arguments = [
                Self.program, command, workshop.experiment, "--set", "model.path=model",
            ]
            let enter = ["-c", "cd \"$1\" && shift && exec \"$@\"", "sh"]
            return try mpirun(
                [
                    (1, "/bin/sh", enter + [workshop.path] + arguments),
                    (1, "/bin/sh", enter + [workshop.path + "/elsewhere"] + arguments),
                ], seconds: 60)
        }
        let refused = try start("train")
        #expect(refused.status == 2)
        let lines = refused.errors.split(separator: "\n")
        #expect(lines.count == 1 && lines[0].hasPrefix("pac-mpi: rank 1 ("), "\(refused.errors)")
        #expect(lines[0].contains("): expected the model of rank 0 ("))
        let diagnosis = try start("doctor")
        #expect(diagnosis.status == 1)
        #expect(diagnosis.output.contains("): expected the model of rank 0 ("), "\(diagnosis.output)")

        try workshop.remove("elsewhere/model")
        let missing = try start("doctor")
        #expect(missing.status == 1)
        #expect(missing.output.contains("): model/config.json: cannot be read: "), "\(missing.output)")
    }

    @Test("processes that another launcher started, each alone") func foreignLauncher() throws {
        let workshop = try Workshop()
        func start(rank: Int, _ arguments: [String]) throws -> Outcome {
            try launch(
                "/usr/bin/env", ["PMI_SIZE=2", "PMI_RANK=\(rank)", Self.program] + arguments, seconds: 30)
        }
        let told = try start(rank: 0, ["train", workshop.experiment])
        #expect(told.status == 2)
        #expect(told.errors.hasPrefix("pac-mpi: expected a world of 2 ranks, as "), "\(told.errors)")
        let silent = try start(rank: 1, ["train", workshop.experiment])
        #expect(silent.status == 2 && silent.errors == "")
        #expect(!workshop.exists("run"))
        #expect(try start(rank: 0, ["doctor"]).lines.last == "verdict: not fit")
    }
}
