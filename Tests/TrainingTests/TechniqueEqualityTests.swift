import PlanExamples
import Plans
import Support
import Testing
import TinyRuns

/// Every family learns the same with every technique under every plan, dropout on and off: any two of these together, or
/// all.
@Suite(.serialized) struct TechniqueEqualityTests {
    /// A model and a task of its own.
    struct Subject: CustomTestStringConvertible, Sendable {
        let model: TinyModel
        let task: TinyTask
        let layerCount: Int

        var testDescription: String { "\(model.rawValue), \(task.rawValue)" }

        /// One stage of four ranks, two of two, and four of one: the embedding alone, a cut inside, the head alone.
        var plans: [Plan] {
            let (n, half) = (layerCount, layerCount / 2)
            return [
                .of([(0..<n, [0, 1, 2, 3], [3, 2, 2, 1])], microBatchCount: 1),
                .of(
                    [(0..<half + 1, [0, 1], [2, 2]), (half + 1..<n, [2, 3], [1, 3])], microBatchCount: 2),
                .of(
                    [
                        (0..<1, [0], [2]), (1..<half, [1], [2]), (half..<n - 1, [2], [2]),
                        (n - 1..<n, [3], [2]),
                    ],
                    microBatchCount: 4),
            ]
        }
    }

    static let subjects = [
        Subject(model: .bertClassifier, task: .classification, layerCount: 5),
        Subject(model: .bertRegressor, task: .regression, layerCount: 4),
        Subject(model: .t5, task: .textToText, layerCount: 7),
        Subject(model: .gatedT5, task: .textToText, layerCount: 7),
        Subject(model: .bart, task: .classification, layerCount: 6),
        Subject(model: .bart, task: .textToText, layerCount: 6),
        Subject(model: .llama, task: .textToText, layerCount: 5),
        Subject(model: .llama, task: .text, layerCount: 5),
        Subject(model: .qwen2, task: .textToText, layerCount: 4),
        Subject(model: .qwen2, task: .chat, layerCount: 4),
    ]

    static let techniques = [
        #"{"kind": "full"}"#,
        #"{"kind": "lora", "rank": 3, "dropout": 0.1}"#,
        #"{"kind": "adapters", "reduction_factor": 8}"#,
        #"{"kind": "parallel_adapters", "reduction_factor": 4}"#,
        #"{"kind": "parallel_adapters", "reduction_factor": 4, "adapter": "linear"}"#,
        #"{"kind": "parallel_adapters", "reduction_factor": 4, "initialization": "random", "merge": "side_only"}"#,
    ]

    static let dropouts = [0, 0.2]

    /// What one run of four ranks is compared for; the plan by its number among the subject's.
    struct Combination: Sendable {
        let subject: Subject
        let technique: String
        let dropout: Double
        let plan: Int
    }

    static let combinations = subjects.flatMap { subject in
        techniques.flatMap { technique in
            dropouts.flatMap { dropout in
                subject.plans.indices.map {
                    Combination(subject: subject, technique: technique, dropout: dropout, plan: $0)
                }
            }
        }
    }

    static let factors: [@Sendable (Combination) -> String] = [
        { $0.subject.model.rawValue }, { $0.subject.task.rawValue }, { $0.technique }, { "\($0.dropout)" },
        { "\($0.plan)" },
    ]

    /// The combinations of one subject and technique, which share their runs on one rank.
    struct Trial: CustomTestStringConvertible, Sendable {
        let combinations: [Combination]

        var testDescription: String {
            "\(combinations[0].subject.testDescription), \(combinations[0].technique)"
        }
    }

    static let trials = Dictionary(grouping: combinationsToRun(combinations, factors: factors)) {
        [$0.subject.testDescription, $0.technique]
    }.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map { Trial(combinations: $0.value) }

    /// The bound of the product is 1e-4; sums in another order account for a hundredth of that.
    private static let tolerance = 1e-5

    @Test("computing forward again changes nothing but the memory", arguments: [0, 3])
    func computingForwardAgainChangesNothingButTheMemory(index: Int) throws {
        let workshop = try Workshop()
        var plan = Self.subjects[0].plans[2]
        let settings = ["technique=\(Self.techniques[index])", "training.dropout=0.2", "training.epochs=1"]
        let kept = try workshop.train(ranks: 4, "kept", plan: plan, settings: settings)
        for stage in plan.stages.indices { plan.stages[stage].recompute = true }
        let again = try workshop.train(ranks: 4, "again", plan: plan, settings: settings)
        #expect(try again.losses() == kept.losses())
        func activations(_ run: RunLog) throws -> [Int] {
            try run.events("memory", "pipeline").map {
                try #require($0["peak_bytes"]?["activations"]?.integer)
            }
        }
        // The second stage holds three micro-batches in flight.
        #expect(try activations(again)[1] < activations(kept)[1])
    }

    @Test("losses and figures of four ranks are those of one", arguments: trials)
    func lossesAndFiguresOfFourRanksAreThoseOfOne(_ trial: Trial) throws {
        let (subject, technique) = (trial.combinations[0].subject, trial.combinations[0].technique)
        let workshop = try Workshop(subject.model, subject.task)
        func settings(_ dropout: Double) -> [String] {
            [
                "technique=\(technique)", "training.dropout=\(dropout)", "training.epochs=2",
                "training.learning_rate=0.001", "task.train_limit=45",
            ]
        }
        func alone(_ dropout: Double) throws -> RunLog {
            try workshop.train(
                "alone-\(dropout)", plan: .alone(layerCount: subject.layerCount), settings: settings(dropout))
        }
        let dry = try alone(0)
        for dropout in Self.dropouts {
            let plans = trial.combinations.filter { $0.dropout == dropout }.map(\.plan)
            if plans.isEmpty { continue }
            let expected = dropout == 0 ? dry : try alone(dropout)
            let losses = try expected.losses()
            #expect(losses.count == 12)
            // The comparison means something: updates and dropout change the losses.
            #expect(abs(losses[6...].reduce(0, +) - losses[..<6].reduce(0, +)) > 1e-3)
            if dropout > 0 { #expect(largestDifference(losses, try dry.losses()) > 1e-4) }
            for index in plans {
                let plan = subject.plans[index]
                let run = try workshop.train(
                    ranks: 4, "plan-\(dropout)-\(index)", plan: plan, settings: settings(dropout))
                #expect(largestDifference(try run.losses(), losses) < Self.tolerance, "\(plan)")
                for (figures, others) in zip(try run.metrics(), try expected.metrics()) {
                    #expect(figures.keys.sorted() == others.keys.sorted())
                    for (name, value) in figures {
                        #expect(
                            abs(value - others[name]!) < 1e-4 * max(1, abs(value)), "\(name) under \(plan)")
                    }
                }
            }
        }
    }
}
