import PlanExamples
import Plans
import Support
import Testing
import TinyRuns

/// The plan never changes the result: losses, figures of merit and texts of four ranks under any plan are
/// those of one rank that computes everything with the backbone. Any two of model, task, dropout, shape of the plan and
/// schedule together, or all.
@Suite(.serialized) struct PlanEqualityTests {
    /// A model, what it learns, and the plans under which it must learn the same.
    struct Case: CustomTestStringConvertible, Sendable {
        let model: TinyModel
        let task: TinyTask
        let layerCount: Int
        var dropout = 0.0
        let plans: [Plan]

        var testDescription: String { "\(model.rawValue), \(task.rawValue), dropout \(dropout)" }
    }

    private static let pairs = Plan.of(
        [(0..<3, [0, 1], [2, 2]), (3..<5, [2, 3], [2, 2])], microBatchCount: 2)
    private static let uneven = Plan.of(
        [(0..<4, [1, 0, 3], [1, 3, 0]), (4..<5, [2], [4])], microBatchCount: 2)
    /// Inside the decoder, with an uneven split and a rank that computes nothing.
    private static let insideDecoder = Plan.of(
        [(0..<5, [0, 1], [3, 1]), (5..<7, [2, 3], [0, 4])], microBatchCount: 2)

    static let cases = [
        Case(
            model: .bertClassifier, task: .classification, layerCount: 5,
            plans: [
                .of([(0..<5, [0, 1, 2, 3], [2, 2, 2, 2])], microBatchCount: 1), pairs,
                .of(
                    [(0..<1, [0], [2]), (1..<3, [1], [2]), (3..<4, [2], [2]), (4..<5, [3], [2])],
                    microBatchCount: 4),
                uneven,
                // Rank 2 is left out.
                .of([(0..<2, [3], [4]), (2..<5, [0, 1], [3, 1])], microBatchCount: 2),
                .of([(0..<1, [0], [8]), (1..<4, [1, 2], [5, 3]), (4..<5, [3], [8])], microBatchCount: 1),
            ]),
        Case(
            model: .bertClassifier, task: .classification, layerCount: 5, dropout: 0.1,
            plans: [
                .of([(0..<5, [0, 1, 2, 3], [2, 2, 2, 2])], microBatchCount: 1), uneven,
                .of(
                    [(0..<1, [0], [1]), (1..<2, [1], [1]), (2..<3, [2], [1]), (3..<5, [3], [1])],
                    microBatchCount: 8),
            ]),
        Case(
            model: .bertRegressor, task: .regression, layerCount: 4,
            plans: [
                .of([(0..<4, [0, 1, 2, 3], [3, 3, 1, 1])], microBatchCount: 1),
                .of([(0..<2, [0, 1], [2, 2]), (2..<4, [2, 3], [1, 3])], microBatchCount: 2),
                .of(
                    [(0..<1, [3], [2]), (1..<2, [2], [2]), (2..<3, [1], [2]), (3..<4, [0], [2])],
                    microBatchCount: 4),
            ]),
        Case(
            model: .t5, task: .textToText, layerCount: 7,
            plans: [
                .of([(0..<7, [0, 1, 2, 3], [2, 2, 2, 2])], microBatchCount: 1),
                // The boundary between encoder and decoder: embedding and three blocks, two blocks and the
                // head.
                .of([(0..<4, [0, 1], [2, 2]), (4..<7, [2, 3], [2, 2])], microBatchCount: 2),
                insideDecoder,
                .of(
                    [(0..<2, [0], [2]), (2..<4, [1], [2]), (4..<6, [2], [2]), (6..<7, [3], [2])],
                    microBatchCount: 4),
            ]),
        Case(
            model: .gatedT5, task: .classification, layerCount: 7,
            plans: [
                .of([(0..<3, [0, 1], [2, 2]), (3..<7, [2, 3], [3, 1])], microBatchCount: 2),
                // Rank 3 is left out, and the decoder is cut twice.
                .of([(0..<4, [2], [4]), (4..<5, [0], [4]), (5..<7, [1], [4])], microBatchCount: 2),
            ]),
        // BART's classifier reads its decoder; its decoder writes text without it.
        Case(
            model: .bart, task: .classification, layerCount: 6,
            plans: [
                .of([(0..<6, [0, 1, 2, 3], [2, 2, 2, 2])], microBatchCount: 1),
                .of([(0..<3, [0, 1], [3, 1]), (3..<6, [2, 3], [2, 2])], microBatchCount: 2),
            ]),
        Case(
            model: .bart, task: .regression, layerCount: 6, dropout: 0.1,
            plans: [
                .of([(0..<2, [0], [4]), (2..<4, [1], [4]), (4..<6, [2, 3], [3, 1])], microBatchCount: 2)
            ]),
        Case(
            model: .bart, task: .textToText, layerCount: 6,
            plans: [
                .of([(0..<3, [0, 1], [2, 2]), (3..<6, [2, 3], [3, 1])], microBatchCount: 2),
                .of(
                    [(0..<1, [0], [2]), (1..<3, [1], [2]), (3..<5, [2], [2]), (5..<6, [3], [2])],
                    microBatchCount: 4),
            ]),
        Case(
            model: .gatedT5, task: .textToText, layerCount: 7, dropout: 0.1,
            plans: [.of([(0..<4, [0], [4]), (4..<7, [1, 2, 3], [2, 0, 2])], microBatchCount: 2)]),
    ]

    /// A run that is compared; the plan by its number among those of the case, or nil for one rank alone.
    struct Combination: Sendable {
        let item: Case
        let plan: Int?
        let streams: Bool

        /// What the plan has in common with those of other models.
        var shape: String {
            guard let plan = plan.map({ item.plans[$0] }) else { return "alone" }
            let working = plan.stages.flatMap { stage in zip(stage.ranks, stage.share).filter { $0.1 > 0 } }
                .map(\.0)
            return "\(plan.stages.count) stages"
                + (working == working.sorted() ? "" : ", ranks out of order")
                + (Set(working).count < 4 ? ", a rank without work" : "")
        }
    }

    static let combinations = cases.flatMap { item in
        ([nil] + Array(item.plans.indices)).flatMap { plan in
            [false, true].map { Combination(item: item, plan: plan, streams: $0) }
        }
    }

    static let factors: [@Sendable (Combination) -> String] = [
        { $0.item.model.rawValue }, { $0.item.task.rawValue }, { "\($0.item.dropout)" }, { $0.shape },
        { "\($0.streams)" },
    ]

    /// The combinations of one case, which share their runs on one rank.
    struct Trial: CustomTestStringConvertible, Sendable {
        let item: Case
        let combinations: [Combination]

        var testDescription: String { item.testDescription }
    }

    static let trials = Dictionary(grouping: combinationsToRun(combinations, factors: factors)) {
        $0.item.testDescription
    }.sorted { $0.key < $1.key }.map { Trial(item: $0.value[0].item, combinations: $0.value) }

    /// The bound of the product is 1e-4; sums in another order account for a hundredth of that.
    private static let tolerance = 1e-5

    @Test("losses and figures of any plan are those of one rank", arguments: trials)
    func lossesAndFiguresOfAnyPlanAreThoseOfOneRank(_ trial: Trial) throws {
        let item = trial.item
        let workshop = try Workshop(item.model, item.task)
        let settings = ["training.dropout=\(item.dropout)"]
        let alone = Plan.alone(layerCount: item.layerCount)
        let expected = try workshop.train(
            "expected", plan: alone, settings: settings + ["cache.enabled=false"])
        let steps = expected.events("step")
        #expect(steps.count == 42)
        #expect(expected.events("step", "pipeline").count == 42)
        // The last mini-batch of an epoch is short and still there.
        #expect(steps.map { $0["samples"]?.integer } == (0..<42).map { $0 % 14 == 13 ? 5 : 8 })
        #expect(expected.events("evaluation").count == 3)

        // The comparison means something: the updates change the losses, and so does dropout.
        let losses = try expected.losses()
        let still = try workshop.train(
            "still", plan: alone, settings: settings + ["training.learning_rate=0", "cache.enabled=false"])
        #expect(largestDifference(try still.losses(), losses) > 1e-3)
        #expect(try still.losses()[0] == losses[0])
        if item.dropout > 0 {
            let dry = try workshop.train("dry", plan: alone, settings: ["cache.enabled=false"])
            #expect(largestDifference(try dry.losses(), losses) > 1e-4)
        }

        var largest = 0.0
        for (index, combination) in trial.combinations.enumerated() {
            let streams = combination.streams
            let plan = combination.plan.map { item.plans[$0] } ?? alone
            let run = try workshop.train(
                ranks: combination.plan == nil ? 1 : 4, "run-\(index)", plan: plan,
                settings: settings + ["parallelism.schedule=\(streams ? "streaming" : "1f1b")"])
            let difference = largestDifference(try run.losses(), losses)
            #expect(difference < Self.tolerance, "\(plan), streaming \(streams)")
            largest = max(largest, difference)
            let cachedFrom = streams ? 0 : 14
            #expect(
                run.events("step").map { $0["phase"]?.string }
                    == (0..<42).map { $0 < cachedFrom ? "pipeline" : "cached" }, "\(plan)")
            for (figures, other) in zip(try run.metrics(), try expected.metrics()) {
                #expect(figures.keys.sorted() == other.keys.sorted())
                for (name, value) in figures {
                    #expect(abs(value - other[name]!) < 1e-4, "\(name) under \(plan)")
                }
            }
            #expect(run.events("evaluation").count == 3)
            let passed = run.events("activations").compactMap { $0["samples"]?.integer }
            // A validation by texts reads no activations.
            let writes = item.task == .textToText || item.model.isT5
            let validation = writes ? 0 : Workshop.validationCount
            #expect(passed == (streams ? [Workshop.trainCount + validation] : []))
        }
        print("plan equality, \(item.testDescription): largest relative difference of a loss \(largest)")
    }

    @Test("greedy texts are the same under every plan") func greedyTextsAreTheSameUnderEveryPlan() throws {
        let workshop = try Workshop(.t5, .textToText)
        // A rate at which the model learns to write words, so that texts differ and end.
        _ = try workshop.train(
            "run", plan: .alone(layerCount: 7),
            settings: ["training.learning_rate=0.02", "training.epochs=6"])
        func texts(_ ranks: Int, _ plan: Plan) throws -> [String] {
            let outcome = try workshop.run(
                ranks: ranks,
                ["predict", workshop.experiment, "--adapter", "\(workshop.path)/run/adapter"]
                    + ["--input", "\(workshop.path)/validation.jsonl"] + Workshop.arguments([], plan: plan))
            try #require(outcome.status == 0, "\(outcome.errors)")
            return try outcome.lines.map {
                try #require(JSONValue(parsing: Array($0.utf8), file: "output")["prediction"]?.string)
            }
        }
        let expected = try texts(1, .alone(layerCount: 7))
        #expect(expected.count == Workshop.validationCount)
        #expect(Set(expected).count > 2, "\(expected)")
        for plan in Self.cases[3].plans { #expect(try texts(4, plan) == expected, "\(plan)") }
    }
}
