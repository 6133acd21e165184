import Plans
import Support
import Testing

private func reader(_ text: String) throws -> JSONReader {
    try JSONReader(parsing: Array(text.utf8), file: "plan.json")
}

/// 8 layers over 3 of 4 ranks, mini-batch 16.
private let valid = Plan(
    stages: [
        StagePlan(layers: 0..<5, ranks: [0, 1], share: [3, 1]),
        StagePlan(layers: 5..<8, ranks: [2], share: [4]),
    ], microBatchCount: 4)

@Suite("Plan")
struct PlanTests {
    @Test("sizes and membership")
    func sizes() {
        #expect(valid.microBatchSize == 4)
        #expect(valid.miniBatchSize == 16)
        #expect(valid.stageIndex(ofRank: 1) == 0)
        #expect(valid.stageIndex(ofRank: 2) == 1)
        #expect(valid.stageIndex(ofRank: 3) == nil)
    }

    @Test("a valid plan passes, also when it leaves a rank out")
    func validPlan() throws {
        try valid.validate(layerCount: 8, worldSize: 3, miniBatchSize: 16)
        try valid.validate(layerCount: 8, worldSize: 4, miniBatchSize: 16)
    }

    /// Changes to the valid plan and the message each must give.
    static let violations: [(change: @Sendable (inout Plan) -> Void, message: String)] = [
        ({ $0.stages = [] }, "plan: expected at least one stage, found none"),
        ({ $0.microBatchCount = 0 }, "plan: expected a micro-batch count of at least 1, found 0"),
        (
            { $0.stages[0].layers = 1..<5 },
            "plan: stage 0: expected layers that begin at 0, the first, found [1, 5]"
        ),
        (
            { $0.stages[1].layers = 6..<8 },
            "plan: stage 1: expected layers that begin at 5, where stage 0 ends, found [6, 8]"
        ),
        (
            { $0.stages[1].layers = 4..<8 },
            "plan: stage 1: expected layers that begin at 5, where stage 0 ends, found [4, 8]"
        ),
        ({ $0.stages[1].layers = 5..<5 }, "plan: stage 1: expected at least one layer, found [5, 5]"),
        (
            { $0.stages[1].layers = 5..<7 },
            "plan: stage 1: expected the last stage to end at the model's 8 layers, found [5, 7]"
        ),
        (
            { $0.stages[1].layers = 5..<9 },
            "plan: stage 1: expected layers within the model's 8, found [5, 9]"
        ),
        ({ $0.stages[1].ranks = [] }, "plan: stage 1: expected at least one rank, found none"),
        (
            { $0.stages[1].ranks = [4] },
            "plan: stage 1: expected ranks from 0 to 3, as the world has 4, found 4"
        ),
        (
            { $0.stages[1].ranks = [-1] },
            "plan: stage 1: expected ranks from 0 to 3, as the world has 4, found -1"
        ),
        (
            { $0.stages[1].ranks = [1] },
            "plan: stage 1: expected every rank once, found rank 1 in stage 0 as well"
        ),
        ({ $0.stages[0].ranks = [1, 1] }, "plan: stage 0: expected every rank once, found rank 1 twice"),
        (
            { $0.stages[0].share = [4] },
            "plan: stage 0: expected one share for each of its 2 ranks, found 1"
        ),
        ({ $0.stages[0].share = [5, -1] }, "plan: stage 0: expected shares of at least 0, found -1"),
        (
            { $0.stages[0].share = [0, 0] },
            "plan: stage 0: expected at least one sample of each micro-batch, found shares of 0 only"
        ),
        (
            { $0.stages[1].share = [3] },
            "plan: stage 1: expected shares that sum to 4, as in stage 0, found 3"
        ),
        (
            { $0.microBatchCount = 5 },
            "plan: stage 0: expected micro-batch count x sum of shares = the mini-batch size 16, found 5 x 4 = 20"
        ),
    ]

    @Test(
        "every violation names the stage, what was expected and what was found", arguments: violations.indices
    )
    func violation(index: Int) {
        var plan = valid
        Self.violations[index].change(&plan)
        #expect(throws: Failure.configuration(Self.violations[index].message)) {
            try plan.validate(layerCount: 8, worldSize: 4, miniBatchSize: 16)
        }
    }

    @Test("a rank with no share is legal")
    func zeroShare() throws {
        var plan = valid
        plan.stages[0].share = [4, 0]
        try plan.validate(layerCount: 8, worldSize: 3, miniBatchSize: 16)
    }

    @Test("the JSON form is the documented one")
    func jsonText() {
        let expected =
            #"{"stages":[{"layers":[0, 5], "ranks":[0, 1], "share":[3, 1]}, "#
            + #"{"layers":[5, 8], "ranks":[2], "share":[4]}], "micro_batch_count":4}"#
        #expect(valid.json.text() == expected)
    }

    @Test("a stage that recomputes says so, in the file and to people")
    func recompute() throws {
        var plan = valid
        plan.stages[1].recompute = true
        #expect(
            plan.json.text()
                == #"{"stages":[{"layers":[0, 5], "ranks":[0, 1], "share":[3, 1]}, "#
                + #"{"layers":[5, 8], "ranks":[2], "share":[4], "recompute":true}], "micro_batch_count":4}"#)
        #expect(try Plan(reader(plan.json.text()), miniBatchSize: 16) == plan)
        #expect(plan.stages[1].description == "layers 5-7 on rank 2 (share 4), recomputed")
        #expect(throws: Failure.self) {
            try Plan(
                reader(
                    #"{"stages": [{"layers": [0, 5], "ranks": [0], "recompute": 1}], "micro_batch_count": 4}"#
                ),
                miniBatchSize: 16)
        }
    }

    @Test("JSON round trip, with and without a prediction", arguments: [true, false])
    func roundTrip(indented: Bool) throws {
        #expect(try Plan(reader(valid.json.text(indented: indented)), miniBatchSize: 16) == valid)
        var plan = valid
        plan.predicted = Prediction(
            planner: .exact, stepSeconds: 0.75,
            stages: [
                StagePrediction(
                    forwardSeconds: 0.1, backwardSeconds: 0.2, microBatchSeconds: 0.29,
                    forwardTransferSeconds: 1e-3,
                    backwardTransferSeconds: 1.25e-4, allReduceSeconds: 0.01,
                    memoryBytes: [1_000_000, 900_000]),
                StagePrediction(
                    forwardSeconds: 0.15, backwardSeconds: 0.1, microBatchSeconds: 0.25,
                    forwardTransferSeconds: 0,
                    backwardTransferSeconds: 0, allReduceSeconds: 0, memoryBytes: [5]),
            ],
            considered: [
                PlanCandidate(stageCount: 1, outcome: .infeasible(reason: "rank 0 needs \"2\" bytes more")),
                PlanCandidate(
                    stageCount: 2,
                    outcome: .feasible(microBatchCount: 4, stepSeconds: 0.75, bottleneckSeconds: 0.29)),
            ],
            alternatives: [
                PlanAlternative(
                    name: "even shares",
                    outcome: .feasible(microBatchCount: 2, stepSeconds: 0.8, bottleneckSeconds: 0.3)),
                PlanAlternative(name: "one device alone", outcome: .infeasible(reason: "too large")),
            ])
        #expect(try Plan(reader(plan.json.text(indented: indented)), miniBatchSize: 16) == plan)
    }

    @Test("shares left out are an even split, larger shares first")
    func evenShares() throws {
        let text =
            #"{"stages": [{"layers": [0, 5], "ranks": [3, 1, 2]}, {"layers": [5, 8], "ranks": [0]}], "micro_batch_count": 2}"#
        let plan = try Plan(reader(text), miniBatchSize: 16)
        #expect(plan.stages.map(\.share) == [[3, 3, 2], [8]])
        try plan.validate(layerCount: 8, worldSize: 4, miniBatchSize: 16)
        let small = try Plan(reader(text), miniBatchSize: 4)
        #expect(small.stages.map(\.share) == [[1, 1, 0], [2]])
        try small.validate(layerCount: 8, worldSize: 4, miniBatchSize: 4)
    }

    static let badTexts: [(text: String, message: String)] = [
        (
            #"{"stages": [{"layers": [0, 5], "ranks": [0]}], "micro_batch_count": 3}"#,
            "plan.json:1: micro_batch_count: expected a divisor of the mini-batch size 16, as a stage leaves "
                + "\"share\" out, found the number 3"
        ),
        (
            #"{"stages": [{"layers": [5, 5], "ranks": [0]}], "micro_batch_count": 4}"#,
            "plan.json:1: stages[0].layers: expected [first, end] with first < end, a half-open range of layers, "
                + "found an array"
        ),
        (
            #"{"stages": [{"layers": [0, 5], "ranks": [0, 1], "share": [4]}], "micro_batch_count": 4}"#,
            "plan.json:1: stages[0].share: expected one share for each of the 2 ranks, found an array"
        ),
        (
            "{\"stages\": [\n{\"layers\": [0, 5], \"rank\": [0]}], \"micro_batch_count\": 4}",
            "plan.json:2: unknown key \"stages[0].rank\". Did you mean \"ranks\"? Known here: layers, ranks, share, recompute."
        ),
        (
            #"{"stages": [], "micro_batch_count": 4}"#,
            "plan.json:1: stages: expected at least one stage, found an array"
        ),
        (
            #"{"stages": [{"layers": [0, 5], "ranks": []}], "micro_batch_count": 4}"#,
            "plan.json:1: stages[0].ranks: expected at least one rank, found an array"
        ),
        (
            #"{"stages": [{"layers": [0, 5], "ranks": [0]}]}"#,
            "plan.json:1: the key \"micro_batch_count\" is missing"
        ),
    ]

    @Test(
        "a wrong file is refused with file, line, key path, expected and found", arguments: badTexts.indices)
    func badText(index: Int) {
        #expect(throws: Failure.configuration(Self.badTexts[index].message)) {
            try Plan(reader(Self.badTexts[index].text), miniBatchSize: 16)
        }
    }

    @Test("negative numbers and other types are refused, not trapped on")
    func wrongValues() {
        for text in [
            #"{"stages": [{"layers": [-1, 5], "ranks": [0]}], "micro_batch_count": 4}"#,
            #"{"stages": [{"layers": [0], "ranks": [0]}], "micro_batch_count": 4}"#,
            #"{"stages": [{"layers": [0, 5], "ranks": [0], "share": [-4]}], "micro_batch_count": 4}"#,
            #"{"stages": [{"layers": [0, 5], "ranks": [0.5]}], "micro_batch_count": 4}"#,
            #"{"stages": [{"layers": [0, 9223372036854775807], "ranks": [0]}], "micro_batch_count": 4}"#,
            #"{"stages": {}, "micro_batch_count": 4}"#, #"{"stages": [[]], "micro_batch_count": 0}"#, "[]",
        ] {
            #expect(throws: Failure.self) { try Plan(reader(text), miniBatchSize: 16) }
        }
    }

    @Test("the rendering for people")
    func rendering() {
        #expect(
            valid.description == """
                2 stages, 4 micro-batches of 4
                stage 0: layers 0-4 on ranks 0, 1 (shares 3, 1)
                stage 1: layers 5-7 on rank 2 (share 4)
                """)
        #expect(
            Plan(stages: [StagePlan(layers: 0..<1, ranks: [2], share: [8])], microBatchCount: 1).description
                == "1 stage, 1 micro-batch of 8\nstage 0: layer 0 on rank 2 (share 8)")
    }
}
