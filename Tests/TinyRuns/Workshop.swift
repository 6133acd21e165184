import Foundation
import Launching
import PlanExamples
import Plans
import ReferenceFiles
import Support
import Testing

/// The models of the reference cases: 2 to 5 blocks with 32 or 48 channels, enough for every path of the
/// program.
package enum TinyModel: String, CaseIterable, Sendable {
    case bertClassifier = "bert_cls"
    case bertRegressor = "bert_reg"
    case t5 = "t5_v1_0"
    case gatedT5 = "t5_v1_1"
    case bart = "bart_cls"
    case llama, qwen2

    package var isT5: Bool { self == .t5 || self == .gatedT5 }
}

/// What the rows of the data look like.
package enum TinyTask: String, Sendable {
    case classification, regression
    case textToText = "text_to_text"
    case text, chat
}

/// A scratch directory with a tiny model, data and an experiment, in which the program runs.
package final class Workshop {
    package let path: String
    package let program = builtExecutable("pac-mpi")

    /// Mini-batches of 8: 14 in an epoch, the last one of 5.
    package static let trainCount = 109
    package static let validationCount = 13
    package static let miniBatchSize = 8

    package init(_ model: TinyModel = .bertClassifier, _ task: TinyTask = .classification) throws {
        path = NSTemporaryDirectory() + "pac-mpi-training-" + UUID().uuidString
        let files = FileManager.default
        try files.createDirectory(atPath: path, withIntermediateDirectories: true)
        try files.copyItem(
            atPath: "\(Reference.directory)/\(model.rawValue)/checkpoint", toPath: "\(path)/model")
        if model.isT5 {
            try files.copyItem(
                atPath: "\(Reference.directory)/tokenizers/unigram_t5/tokenizer.json",
                toPath: "\(path)/model/tokenizer.json")
        }
        try write(Self.rows(Self.trainCount, task, seed: 1), to: "train.jsonl")
        try write(Self.rows(Self.validationCount, task, seed: 2), to: "validation.jsonl")
        try write(
            """
            {
              "name": "tiny",
              "model": {"path": "\(path)/model"},
              "task": {
                "kind": "\(task.rawValue)", "train": "\(path)/train.jsonl",
                "validation": "\(path)/validation.jsonl", "max_sequence_length": \(task == .chat ? 128 : 24), "chat_template": \(task == .chat ? "\"chatml\"" : "null")
              },
              "technique": {"reduction_factor": 4},
              "training": {
                "epochs": 3, "mini_batch_size": \(Self.miniBatchSize), "learning_rate": 0.0003,
                "schedule": "constant", "dropout": 0.0
              },
              "parallelism": {"system": "plan", "plan": \(Self.allTogether.json.text())},
              "output": {"directory": "\(path)/run"}
            }

            """, to: "experiment.json")
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    package var experiment: String { "\(path)/experiment.json" }

    /// Rank 0 alone with the whole model; `layers` for those of `bertClassifier`.
    private static let allTogether = Plan.of([(0..<5, [0], [miniBatchSize])], microBatchCount: 1)

    // MARK: Files

    package func write(_ text: String, to name: String) throws { try write(Array(text.utf8), to: name) }

    package func write(_ bytes: [UInt8], to name: String) throws {
        try writeFileAtomically(bytes, to: "\(path)/\(name)")
    }

    package func read(_ name: String) throws -> [UInt8] { try readFile("\(path)/\(name)") }

    package func exists(_ name: String) -> Bool { fileExists("\(path)/\(name)") }

    package func remove(_ name: String) throws {
        try FileManager.default.removeItem(atPath: "\(path)/\(name)")
    }

    /// The names in a directory, sorted.
    package func names(in directory: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(path)/\(directory)").sorted()
    }

    // MARK: Running

    /// Runs the program: under mpirun, or for one rank alone.
    package func run(ranks: Int = 1, _ arguments: [String], seconds: Double = 60) throws -> Outcome {
        ranks == 1
            ? try launch(program, arguments, seconds: seconds)
            : try mpirun(ranks: ranks, program, arguments, seconds: seconds)
    }

    /// Trains to the end and reads what the run logged.
    package func train(
        ranks: Int = 1, _ name: String, plan: Plan, settings: [String] = [],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> RunLog {
        let outcome = try run(
            ranks: ranks,
            ["train", experiment]
                + Self.arguments(settings + ["output.directory=\(path)/\(name)"], plan: plan))
        try #require(outcome.status == 0, "\(name): \(outcome.errors)", sourceLocation: sourceLocation)
        #expect(outcome.errors == "", sourceLocation: sourceLocation)
        return try RunLog("\(path)/\(name)")
    }

    /// Starts a training run that would take minutes, on two ranks and two stages, and calls `body` with the process id of
    /// mpirun when the run is in the midst of its steps.
    package func interrupt(
        _ name: String, settings: [String], _ body: (Int32) throws -> Void
    ) throws -> Outcome {
        let plan = Plan.of([(0..<3, [0], [4]), (3..<5, [1], [4])], microBatchCount: 2)
        let log = "\(path)/\(name)/metrics.jsonl"
        let all =
            settings + [
                "output.directory=\(path)/\(name)", "training.epochs=100000", "cache.enabled=false",
                "task.validation=null",
            ]
        return try mpirun(
            ranks: 2, program, ["train", experiment] + Self.arguments(all, plan: plan), seconds: 60
        ) { launcher in
            let deadline = Date(timeIntervalSinceNow: 30)
            while Date() < deadline {
                // Until the run has begun, there is no log.
                if let text = try? String(contentsOfFile: log, encoding: .utf8),
                    text.contains(#""event":"step""#)
                {
                    return try body(launcher)
                }
                usleep(20_000)
            }
            throw LaunchError("\(name): no step within 30 s")
        }
    }

    /// Overrides as arguments.
    package static func arguments(_ settings: [String], plan: Plan? = nil) -> [String] {
        (settings + (plan.map { ["parallelism.plan=\($0.json.text())"] } ?? [])).flatMap { ["--set", $0] }
    }

    // MARK: Data

    private static let words = [
        "the", "company", "lost", "weather", "our", "guest", "described", "morning", "alarm", "neighbour",
        "turned",
        "on", "new", "album", "praised", "before", "breakfast",
    ]

    /// Rows of 2 to 12 words: the class tells the row's first word, the score its length, the target its
    /// first words.
    private static func rows(_ count: Int, _ task: TinyTask, seed: UInt64) -> String {
        (0..<count).map { index in
            let random = CounterRandom(seed, UInt64(index))
            let length = 2 + Int(random.bits(at: 0) % 11)
            let chosen = (0..<length).map { Int(random.bits(at: UInt64($0 + 1)) % UInt64(words.count)) }
            let text = chosen.map { words[$0] }.joined(separator: " ")
            let start = chosen.prefix(1 + index % 3).map { words[$0] }.joined(separator: " ")
            let row: String =
                switch task {
                case .classification:
                    #"{"text": "\#(text)", "label": "\#(["calm", "loud", "odd"][chosen[0] % 3])"}"#
                case .regression: #"{"text": "\#(text)", "label": \#(Double(length) / 4)}"#
                case .textToText: #"{"source": "\#(text)", "target": "\#(start)"}"#
                case .text: #"{"text": "\#(text)"}"#
                case .chat:
                    #"{"messages": [{"role": "user", "content": "\#(text)"}, "#
                        + #"{"role": "assistant", "content": "\#(start)"}]}"#
                }
            return row + "\n"
        }.joined()
    }
}

extension Plan {
    /// Rank 0 alone with the whole model.
    package static func alone(layerCount: Int) -> Plan {
        .of([(0..<layerCount, [0], [Workshop.miniBatchSize])], microBatchCount: 1)
    }
}
