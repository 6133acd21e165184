import Launching
import PlanExamples
import Plans
import Support
import Testing
import TextData
import TinyRuns
import Tokenizers

/// The commands beside `train`, and where runs are kept.
@Suite(.serialized) struct CommandTests {
    private func json(_ line: some StringProtocol) throws -> JSONValue {
        try JSONValue(parsing: Array(line.utf8), file: "output")
    }

    /// Bert through two stages, with a rate at which it learns something; the figures are those of the last
    /// epoch.
    @Test("evaluate and predict reproduce a run's last figures")
    func evaluateAndPredictReproduceARunsLastFigures() throws {
        let workshop = try Workshop()
        let plan = Plan.of([(0..<2, [0], [4]), (2..<5, [1], [4])], microBatchCount: 2)
        let run = try workshop.train(ranks: 2, "run", plan: plan, settings: ["training.learning_rate=0.01"])
        let figures = try #require(try run.metrics().last)
        let accuracy = try #require(figures["accuracy"])
        #expect(accuracy > 0.5)

        let rows = try workshop.read("validation.jsonl").split(separator: 10).map {
            try JSONValue(parsing: Array($0), file: "validation.jsonl")
        }
        let arguments = [
            workshop.experiment, "--adapter", "\(workshop.path)/run/adapter", "--set", "parallelism={}",
        ]
        for ranks in [1, 3] {
            let evaluated = try workshop.run(ranks: ranks, ["evaluate", "--json"] + arguments)
            try #require(evaluated.status == 0, "\(evaluated.errors)")
            #expect(try json(evaluated.output).members?.map(\.key) == ["accuracy", "mean"])
            #expect(try json(evaluated.output)["accuracy"]?.number == accuracy)

            let predicted = try workshop.run(
                ranks: ranks, ["predict", "--input", "\(workshop.path)/validation.jsonl"] + arguments)
            try #require(predicted.status == 0, "\(predicted.errors)")
            let lines = try predicted.lines.map { try json($0) }
            try #require(lines.count == rows.count)
            var right = 0
            for (line, row) in zip(lines, rows) {
                #expect(line["text"] == row["text"])
                let chances = try #require(line["probabilities"]?.members)
                #expect(chances.map(\.key) == ["calm", "loud", "odd"])
                #expect(abs(chances.reduce(0) { $0 + $1.value.number! } - 1) < 1e-5)
                let best = try #require(chances.max { $0.value.number! < $1.value.number! })
                #expect(line["prediction"]?.string == best.key)
                if line["prediction"] == row["label"] { right += 1 }
            }
            #expect(Double(right) / Double(rows.count) == accuracy)
        }
        let one = try workshop.run(["predict", "--text", "our guest praised the album"] + arguments)
        #expect(try json(one.output)["text"]?.string == "our guest praised the album")
    }

    @Test("a text begins with the token that the model's files force, and ends where its positions do")
    func aTextBeginsWithTheForcedToken() throws {
        let workshop = try Workshop(.bart, .textToText)
        let tokenizer = try Tokenizer(contentsOf: workshop.path + "/model")
        let forced = try #require(tokenizer.encode("the").first)
        let plan = Plan.alone(layerCount: 6)
        let settings = ["training.learning_rate=0", "training.epochs=1", "training.max_steps=1"]
        _ = try workshop.train("run", plan: plan, settings: settings)
        // More than the 64 positions of the model: one that never ends a text must stop there.
        let file = "run/adapter/adapter_config.json"
        let text = String(decoding: try workshop.read(file), as: UTF8.self)
        try workshop.write(
            text.replacing(/"maximum_generation_length": \d+/, with: "\"maximum_generation_length\": 1000"),
            to: file)
        func texts() throws -> [String] {
            let outcome = try workshop.run(
                ["predict", workshop.experiment, "--adapter", "\(workshop.path)/run/adapter"]
                    + ["--input", "\(workshop.path)/validation.jsonl"] + Workshop.arguments([], plan: plan))
            try #require(outcome.status == 0, "\(outcome.errors)")
            return try outcome.lines.map { try #require(try json($0)["prediction"]?.string) }
        }
        let start = tokenizer.decode([forced])
        #expect(try !texts().contains { $0.hasPrefix(start) })
        try workshop.write(#"{"forced_bos_token_id": \#(forced)}"#, to: "model/generation_config.json")
        #expect(try texts().allSatisfy { $0.hasPrefix(start) })
    }

    @Test("a regression's figures too") func aRegressionsFiguresToo() throws {
        let workshop = try Workshop(.bertRegressor, .regression)
        let plan = Plan.of([(0..<2, [0], [8]), (2..<4, [1], [8])], microBatchCount: 1)
        let run = try workshop.train(ranks: 2, "run", plan: plan, settings: ["training.learning_rate=0.01"])
        let figures = try #require(try run.metrics().last)
        let evaluated = try workshop.run(
            ranks: 3,
            ["evaluate", "--json", workshop.experiment, "--adapter", "\(workshop.path)/run/adapter"]
                + ["--set", "parallelism={}"])
        for member in try #require(try json(evaluated.output).members) {
            let value = try #require(member.value.number)
            #expect(abs(value - figures[member.key]!) < 1e-5, "\(member.key)")
        }
    }

    @Test("an adapter does not run beside another model") func anAdapterDoesNotRunBesideAnotherModel() throws
    {
        let workshop = try Workshop()
        _ = try workshop.train("run", plan: .alone(layerCount: 5), settings: ["training.max_steps=1"])
        var bytes = try workshop.read("model/model.safetensors")
        bytes[bytes.count - 1000] ^= 1
        try workshop.write(bytes, to: "model/model.safetensors")
        let outcome = try workshop.run(
            ["evaluate", workshop.experiment, "--adapter", "\(workshop.path)/run/adapter"])
        #expect(outcome.status == 2)
        #expect(outcome.errors.contains("adapter_config.json"))
        #expect(outcome.errors.contains("model_hash"))
    }

    @Test("plan reads what profile wrote, without mpirun") func planReadsWhatProfileWroteWithoutMpirun()
        throws
    {
        let workshop = try Workshop()
        let profile = "\(workshop.path)/profile.json"
        let profiled = try workshop.run(
            ranks: 2, ["profile", workshop.experiment, "--set", "parallelism={}", "--out", profile])
        try #require(profiled.status == 0, "\(profiled.errors)")
        let planned = try workshop.run(
            ["plan", workshop.experiment, "--set", "parallelism={}", "--profile", profile]
                + ["--out", "\(workshop.path)/plan.json", "--json"])
        try #require(planned.status == 0, "\(planned.errors)")
        let file = "\(workshop.path)/plan.json"
        let plan = try Plan(JSONReader(contentsOf: file), miniBatchSize: 8)
        try plan.validate(layerCount: 5, worldSize: 2, miniBatchSize: 8)
        #expect(try json(planned.output) == JSONValue(contentsOf: file))

        // A person reads memory, disk and times, and why other plans lost.
        let told = try workshop.run([
            "plan", workshop.experiment, "--set", "parallelism={}", "--profile", profile,
        ])
        for part in ["disk, later", "an epoch with the backbone", "one from the cache", "instead of that:"] {
            #expect(told.output.contains(part), "\(told.output)")
        }
        let streaming = try workshop.run([
            "plan", workshop.experiment, "--set", #"parallelism={"schedule": "streaming"}"#, "--profile",
            profile,
        ])
        #expect(
            streaming.output.contains("the frozen model over all samples ")
                && streaming.output.contains(", an epoch from the cache at least "), "\(streaming.output)")
        // A profile of another technique is of no use.
        let other = try workshop.run(
            ["plan", workshop.experiment, "--profile", profile]
                + Workshop.arguments(["parallelism={}", "cache={}", #"technique={"kind": "lora"}"#]))
        #expect(other.status == 2)
        #expect(other.errors.contains("profile: layer 0 (embedding): expected "), "\(other.errors)")

        // And training takes the file.
        let outcome = try workshop.run(
            ranks: 2,
            [
                "train", workshop.experiment, "--set", "parallelism.plan=\(file)", "--set",
                "training.max_steps=2",
            ])
        #expect(outcome.status == 0, "\(outcome.errors)")
        #expect(try RunLog("\(workshop.path)/run").events("step").count == 2)
    }

    @Test("a run plans from a profile of the same machines, model and data, and refuses any other")
    func profileReuse() throws {
        let workshop = try Workshop()
        let profile = "\(workshop.path)/profile.json"
        let measured = try workshop.run(
            ranks: 2, ["profile", workshop.experiment, "--set", "parallelism={}", "--out", profile])
        try #require(measured.status == 0, "\(measured.errors)")
        func train(ranks: Int, _ path: String, _ settings: [String] = []) throws -> Outcome {
            try workshop.run(
                ranks: ranks,
                ["train", workshop.experiment, "--overwrite"]
                    + Workshop.arguments(
                        [#"parallelism={"profile": "\#(path)"}"#, "training.max_steps=2"] + settings))
        }
        let outcome = try train(ranks: 2, profile)
        try #require(outcome.status == 0, "\(outcome.errors)")
        let used = try JSONValue(contentsOf: "\(workshop.path)/run/profile.json")
        #expect(try used["devices"] == JSONValue(contentsOf: profile)["devices"])

        let elsewhere = "\(workshop.path)/elsewhere.json"
        let text = String(decoding: try workshop.read("profile.json"), as: UTF8.self)
        let host = try #require(used["devices"]?.array?[1]["host"]?.string)
        try workshop.write(
            text.replacingOccurrences(of: "\"host\": \"\(host)\"", with: "\"host\": \"board\""),
            to: "elsewhere.json")
        for (ranks, path, settings, message) in [
            (4, profile, [], "profile: expected 4 devices, one for each rank of this run, found 2"),
            (2, elsewhere, [], "profile: rank 0: expected \(host), which runs it now, found board"),
            (2, profile, ["task.train_limit=45"], "profile: expected the 45 samples of "),
            (
                2, profile, [#"technique={"kind": "full"}"#, "cache={}"],
                "profile: layer 0 (embedding): expected "
            ),
            (2, profile, ["parallelism.system=plan", "parallelism.plan={}"], "needs no profile"),
        ] as [(Int, String, [String], String)] {
            let refused = try train(ranks: ranks, path, settings)
            #expect(refused.status == 2 && refused.errors.contains(message), "\(refused.errors)")
        }
    }

    @Test("runs do not overwrite each other, and train need not be said")
    func runsDoNotOverwriteEachOtherAndTrainNeedNotBeSaid() throws {
        let workshop = try Workshop()
        let steps = ["--set", "training.max_steps=3"]
        for arguments in [["train", workshop.experiment], [workshop.experiment], [workshop.experiment]] {
            let outcome = try workshop.run(arguments + steps)
            try #require(outcome.status == 0, "\(outcome.errors)")
        }
        let runs = try ["run", "run-2", "run-3"].map { try RunLog("\(workshop.path)/\($0)") }
        // The shorthand is the same command.
        for run in runs { #expect(try run.losses() == runs[0].losses()) }
        #expect(!workshop.exists("run-4"))
        #expect(try workshop.names(in: "run") == workshop.names(in: "run-2"))

        let again = try workshop.run([workshop.experiment, "--overwrite", "--set", "training.max_steps=2"])
        #expect(again.status == 0)
        #expect(!workshop.exists("run-4"))
        #expect(try RunLog("\(workshop.path)/run").events("step").count == 2)
        #expect(try RunLog("\(workshop.path)/run-2").events("step").count == 3)
        // The resolved experiment is one that trains the same.
        let resolved = try workshop.run(["\(workshop.path)/run-2/experiment.json"])
        #expect(resolved.status == 0, "\(resolved.errors)")
        #expect(try RunLog("\(workshop.path)/run-4").losses() == runs[0].losses())
    }
}
