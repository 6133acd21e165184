import Foundation
import Launching
import Planning
import Plans
import Reporting
import Support
import Testing
import TinyRuns

/// What is wrong with an experiment, its model or its data ends every rank with the same single line and
/// status, on one rank and on four.
@Suite struct BadInputTests {
    /// Something wrong, and what the message must say of it.
    struct Case: CustomTestStringConvertible, Sendable {
        let testDescription: String
        var settings: [String] = []
        /// Parts of the message; WORKSHOP stands for the directory of files.
        let message: [String]
        var status: Int32 = 2
        var ranks = [1, 4]
        /// Whether the message names the size of the world.
        var namesWorld = false
        var damage: @Sendable (Workshop) throws -> Void = { _ in }
    }

    private static func plan(_ text: String) -> [String] { ["parallelism.plan=\(text)"] }

    /// Puts other text in place of a line of a data file.
    private static func line(_ number: Int, of name: String, _ text: String)
        -> @Sendable (Workshop) throws -> Void
    {
        { workshop in
            var lines = try workshop.read(name).split(separator: 10).map(Array.init)
            lines[number - 1] = Array(text.utf8)
            try workshop.write(lines.flatMap { $0 + [10] }, to: name)
        }
    }

    private static func replace(_ old: String, _ new: String, in name: String)
        -> @Sendable (Workshop) throws -> Void
    {
        { workshop in
            let text = String(decoding: try workshop.read(name), as: UTF8.self)
            try #require(text.contains(old))
            try workshop.write(text.replacingOccurrences(of: old, with: new), to: name)
        }
    }

    static let models = [
        Case(
            testDescription: "no weights", message: ["WORKSHOP/model/model.safetensors: ", "No such file"],
            damage: { try $0.remove("model/model.safetensors") }),
        Case(
            testDescription: "no config.json", message: ["WORKSHOP/model/config.json: ", "No such file"],
            damage: { try $0.remove("model/config.json") }),
        Case(
            testDescription: "no tokenizer.json", message: ["WORKSHOP/model/tokenizer.json"],
            damage: { try $0.remove("model/tokenizer.json") }),
        Case(
            testDescription: "weights cut off in the header", message: ["WORKSHOP/model/model.safetensors: "],
            damage: {
                try $0.write(
                    Array($0.read("model/model.safetensors").prefix(100)), to: "model/model.safetensors")
            }),
        Case(
            testDescription: "weights cut off in the data", message: ["WORKSHOP/model/model.safetensors: "],
            damage: {
                try $0.write(
                    Array($0.read("model/model.safetensors").dropLast(10)), to: "model/model.safetensors")
            }),
        Case(
            testDescription: "empty weights", message: ["WORKSHOP/model/model.safetensors: "],
            damage: { try $0.write("", to: "model/model.safetensors") }),
        Case(
            testDescription: "shapes that disagree with the configuration",
            message: [
                "WORKSHOP/model/model.safetensors: tensor \"bert.encoder.layer.0.intermediate.dense", "[60",
                "found [64",
            ],
            damage: replace("\"intermediate_size\": 64", "\"intermediate_size\": 60", in: "model/config.json")
        ),
        Case(
            testDescription: "a block that the checkpoint lacks",
            message: ["WORKSHOP/model: the tensor \"bert.encoder.layer.3."],
            damage: replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4", in: "model/config.json")),
        Case(
            testDescription: "an unknown family",
            message: ["WORKSHOP/model/config.json:", "model_type", "\"gru\""],
            damage: replace("\"model_type\": \"bert\"", "\"model_type\": \"gru\"", in: "model/config.json")),
        Case(
            testDescription: "a configuration that is no JSON", message: ["WORKSHOP/model/config.json:2"],
            damage: { try $0.write("{\n  \"hidden_size\" 3\n}\n", to: "model/config.json") }),
    ]

    static let experiments = [
        Case(
            testDescription: "an unknown key",
            message: [
                "WORKSHOP/experiment.json:7: unknown key \"task.max_sequence_lenght\". ",
                "Did you mean \"max_sequence_length\"?",
            ],
            damage: replace(
                "\"max_sequence_length\"", "\n      \"max_sequence_lenght\"", in: "experiment.json")),
        Case(
            testDescription: "a value of the wrong type",
            message: ["WORKSHOP/experiment.json:8: technique.reduction_factor: expected ", "\"four\""],
            damage: replace(
                "\"reduction_factor\": 4", "\"reduction_factor\": \"four\"", in: "experiment.json")),
        Case(
            testDescription: "a value out of range",
            message: ["WORKSHOP/experiment.json:10: training.epochs: expected ", "found the number 0"],
            damage: replace("\"epochs\": 3", "\"epochs\": 0", in: "experiment.json")),
        Case(
            testDescription: "an unknown word",
            message: ["WORKSHOP/experiment.json:11: training.schedule: ", "constnat", "\"constant\""],
            damage: replace("\"schedule\": \"constant\"", "\"schedule\": \"constnat\"", in: "experiment.json")
        ),
        Case(
            testDescription: "a missing key",
            message: ["WORKSHOP/experiment.json:3: model: the key \"model.path\" is missing"],
            damage: replace("{\"path\": \"", "{\"seed\": 0, \"initialization\": \"", in: "experiment.json")),
        Case(
            testDescription: "an override of an unknown key", settings: ["training.epoch=3"],
            message: ["training", "epoch", "epochs"]),
        Case(
            testDescription: "an override without a value", settings: ["training.epochs"],
            message: ["--set", "key.path=value"]),
        Case(
            testDescription: "no experiment", message: ["WORKSHOP/experiment.json: ", "No such file"],
            damage: { try $0.remove("experiment.json") }),
        Case(
            testDescription: "a reduction that does not divide", settings: ["technique.reduction_factor=5"],
            message: ["reduction_factor", "5"]),
        Case(
            testDescription: "micro-batches that do not divide", settings: ["training.micro_batch_count=3"],
            message: ["training.micro_batch_count: expected a divisor of mini_batch_size 8"]),
        Case(
            testDescription: "more positions than the model has", settings: ["task.max_sequence_length=65"],
            message: ["task.max_sequence_length: expected at most 64", "found 65"]),
    ]

    static let techniques = [
        Case(
            testDescription: "an unknown technique", settings: ["technique.kind=\"prompts\""],
            message: [
                "WORKSHOP/experiment.json", "technique.kind: ",
                "\"parallel_adapters\", \"lora\", \"adapters\", \"full\"", "\"prompts\"",
            ]),
        Case(
            testDescription: "a key of another technique",
            settings: [#"technique={"kind": "adapters", "rank": 4}"#],
            message: ["unknown key \"technique.rank\"", "kind, reduction_factor"]),
        Case(
            testDescription: "a target that matches nothing",
            settings: [#"technique={"kind": "lora", "targets": ["value", "vallue"]}"#],
            message: ["technique.targets: ", "\"dense\", \"key\", \"query\", \"value\", found \"vallue\""]),
        Case(
            testDescription: "no targets at all", settings: [#"technique={"kind": "lora", "targets": []}"#],
            message: ["technique.targets: expected at least one name, or null"]),
        Case(
            testDescription: "a rank of zero", settings: [#"technique={"kind": "lora", "rank": 0}"#],
            message: ["technique.rank: expected ", "found the number 0"]),
        Case(
            testDescription: "a bottleneck wider than the model",
            settings: [#"technique={"kind": "adapters", "reduction_factor": 33}"#],
            message: ["technique.reduction_factor: expected at most 32", "found 33"]),
        Case(
            testDescription: "threads that are no number", settings: ["device.threads=many"],
            message: [
                "device.threads: expected a number of threads or \"auto\"", "found the string \"many\"",
            ]),
        Case(
            testDescription: "a cache for a technique inside the backbone",
            settings: [#"technique={"kind": "lora"}"#, "cache.enabled=true"],
            message: ["cache.enabled: expected false with technique \"lora\": it trains inside the backbone"]),
        Case(
            testDescription: "a kept cache for full tuning",
            settings: [#"technique={"kind": "full"}"#, "cache.keep=true"],
            message: ["cache.keep: expected false with technique \"full\""]),
        Case(
            testDescription: "a text for a model that writes none", settings: ["task.kind=\"text\""],
            message: ["task.kind: expected another kind", "found \"text\""]),
        Case(
            testDescription: "a comparison of single texts", settings: ["task.pooling=\"pair\""],
            message: [
                "task.pooling: expected pairs of texts for \"pair\", found that sample 0 is a single one"
            ]),
    ]

    static let data = [
        Case(
            testDescription: "no training file", message: ["WORKSHOP/train.jsonl: ", "No such file"],
            damage: { try $0.remove("train.jsonl") }),
        Case(
            testDescription: "no validation file", message: ["WORKSHOP/validation.jsonl: ", "No such file"],
            damage: { try $0.remove("validation.jsonl") }),
        Case(
            testDescription: "an empty training file",
            message: ["WORKSHOP/train.jsonl: expected at least one row"],
            damage: { try $0.write("", to: "train.jsonl") }),
        Case(
            testDescription: "a row without its label", message: ["WORKSHOP/train.jsonl:7: label: expected"],
            damage: line(7, of: "train.jsonl", #"{"text": "our guest"}"#)),
        Case(
            testDescription: "a row without its text",
            message: ["WORKSHOP/validation.jsonl:2: text: expected"],
            damage: line(2, of: "validation.jsonl", #"{"label": "calm"}"#)),
        Case(
            testDescription: "a row that is no JSON", message: ["WORKSHOP/train.jsonl:109: "],
            damage: line(109, of: "train.jsonl", #"{"text": "our guest", "label": "calm""#)),
        Case(
            testDescription: "bytes that are no UTF-8", message: ["WORKSHOP/train.jsonl:3", "UTF-8"],
            damage: {
                var lines = try $0.read("train.jsonl").split(separator: 10).map(Array.init)
                lines[2][12] = 0xFF
                try $0.write(lines.flatMap { $0 + [10] }, to: "train.jsonl")
            }),
        Case(
            testDescription: "a label that training does not know",
            message: [
                "WORKSHOP/validation.jsonl:5: label: expected one of \"calm\", \"loud\", \"odd\", ",
                "found \"loudd\"",
                "Did you mean \"loud\"?",
            ],
            damage: line(5, of: "validation.jsonl", #"{"text": "our guest", "label": "loudd"}"#)),
        Case(
            testDescription: "a row of a table without a column",
            settings: ["task.kind=glue", "task.name=mrpc", "task.train=WORKSHOP/train.tsv"],
            message: ["WORKSHOP/train.tsv:3: ", "expected 5 columns, found 4"],
            damage: {
                try $0.write(
                    """
                    Quality\t#1 ID\t#2 ID\t#1 String\t#2 String
                    1\t1\t2\tour guest\tthe guest
                    0\t3\t4\tour guest

                    """, to: "train.tsv")
            }),
        Case(
            testDescription: "a table without a column",
            settings: ["task.kind=glue", "task.name=mrpc", "task.train=WORKSHOP/train.tsv"],
            message: ["WORKSHOP/train.tsv:1: #2 String: expected a column of this name"],
            damage: {
                try $0.write("Quality\t#1 ID\t#2 ID\t#1 String\n1\t1\t2\tour guest\n", to: "train.tsv")
            }),
        Case(
            testDescription: "more ranks than samples", settings: ["task.train_limit=3"],
            message: [
                "WORKSHOP/train.jsonl: expected at least one training sample for each of 4 ranks, found 3"
            ],
            ranks: [4]),
    ]

    static let plans = [
        Case(
            testDescription: "a plan that stops short",
            settings: plan(
                #"{"stages": [{"layers": [0, 4], "ranks": [0], "share": [8]}], "micro_batch_count": 1}"#),
            message: ["plan: stage 0: expected the last stage to end at the model's 5 layers, found [0, 4]"]),
        Case(
            testDescription: "a plan with a rank outside the world",
            settings: plan(
                #"{"stages": [{"layers": [0, 5], "ranks": [9], "share": [8]}], "micro_batch_count": 1}"#),
            message: ["plan: stage 0: expected ranks from 0 to ", "found 9"], namesWorld: true),
        Case(
            testDescription: "shares that do not make the mini-batch",
            settings: plan(
                #"{"stages": [{"layers": [0, 5], "ranks": [0], "share": [3]}], "micro_batch_count": 2}"#),
            message: [
                "plan: stage 0: expected micro-batch count x sum of shares = the mini-batch size 8, ",
                "found 2 x 3 = 6",
            ]),
        Case(
            testDescription: "shares that do not fit the ranks",
            settings: plan(
                #"{"stages": [{"layers": [0, 5], "ranks": [0], "share": [4, 4]}], "micro_batch_count": 1}"#),
            message: ["share: expected one share for each of the 1 ranks"]),
        Case(
            testDescription: "a plan that is not there", settings: plan("WORKSHOP/plan.json"),
            message: ["WORKSHOP/plan.json: ", "No such file"]),
        Case(
            testDescription: "a directory of runs that is a file",
            settings: ["output.directory=WORKSHOP/train.jsonl/run"],
            message: ["WORKSHOP/train.jsonl/run: cannot be made: WORKSHOP/train.jsonl is not a directory"]),
        Case(
            testDescription: "a directory of runs that nobody can make",
            settings: ["output.directory=/proc/pac-mpi"],
            message: ["/proc/pac-mpi: the directory cannot be made: "]),
        Case(
            testDescription: "a directory of caches that is a file",
            settings: ["cache.directory=WORKSHOP/train.jsonl"],
            message: ["WORKSHOP/train.jsonl: cannot be made: ", "is not a directory"]),
    ]

    /// A run of a case.
    struct Combination: Sendable {
        /// Which list has the case.
        let kind: String
        let item: Case
        let ranks: Int

        /// What the message is about: a file, or the first part of a key's path.
        var place: Substring {
            item.message[0].prefix { !(item.message[0].hasPrefix("WORKSHOP") ? ": " : ".: ").contains($0) }
        }
    }

    static let combinations = [
        ("model", models), ("experiment", experiments), ("technique", techniques), ("data", data),
        ("plan", plans),
    ].flatMap { kind, items in
        items.flatMap { item in item.ranks.map { Combination(kind: kind, item: item, ranks: $0) } }
    }

    static let factors: [@Sendable (Combination) -> String] = [
        { $0.kind }, { "\($0.place)" }, { "\($0.item.settings.isEmpty)" }, { "\($0.ranks)" },
    ]

    /// All cases on one rank, which costs little, and those on four that `combinationsToRun` chooses.
    static let cases: [Case] = {
        let chosen = combinationsToRun(combinations, factors: factors)
        let onFour = Set(chosen.filter { $0.ranks == 4 }.map(\.item.testDescription))
        return (models + experiments + techniques + data + plans).map { item in
            var item = item
            if item.ranks.count > 1, !onFour.contains(item.testDescription) { item.ranks = [1] }
            return item
        }
    }()

    @Test("one message and the right status", arguments: cases)
    func oneMessageAndTheRightStatus(_ item: Case) throws {
        let workshop = try Workshop()
        try item.damage(workshop)
        func filled(_ text: String) -> String {
            text.replacingOccurrences(of: "WORKSHOP", with: workshop.path)
        }
        var messages: [String] = []
        for ranks in item.ranks {
            let arguments = Workshop.arguments(item.settings.map(filled))
            let outcome = try workshop.run(
                ranks: ranks, ["train", workshop.experiment, "--overwrite"] + arguments, seconds: 30)
            #expect(outcome.status == item.status, "on \(ranks) ranks")
            let lines = outcome.errors.split(separator: "\n", omittingEmptySubsequences: false)
            #expect(lines.count == 2 && lines[1] == "", "on \(ranks) ranks: \(outcome.errors)")
            #expect(lines[0].hasPrefix("pac-mpi: "))
            for part in item.message {
                #expect(lines[0].contains(filled(part)), "on \(ranks) ranks: \(lines[0])")
            }
            messages.append(outcome.errors)
        }
        if !item.namesWorld { #expect(Set(messages).count == 1, "\(messages)") }
    }

    @Test("help and usage are told once", arguments: [1, 4]) func helpAndUsageAreToldOnce(ranks: Int) throws {
        let workshop = try Workshop()
        let help = try workshop.run(ranks: ranks, ["--help"])
        #expect(help.status == 0)
        #expect(help.errors == "")
        #expect(help.lines.count { $0.hasPrefix("USAGE:") } == 1)

        let usage = try workshop.run(ranks: ranks, ["train", workshop.experiment, "--no-such-option"])
        #expect(usage.status == 2)
        #expect(usage.output == "")
        #expect(usage.errors.split(separator: "\n").count { $0.hasPrefix("Error:") } == 1, "\(usage.errors)")
    }
}
