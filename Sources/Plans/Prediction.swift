import Support

/// Which planner made a plan, and by which estimate it compared plans (`LatencyEstimate`).
package enum PlannerKind: String, Sendable, CaseIterable {
    /// Eq. (2) to (6) of the paper as printed.
    case paper
    /// The least `LatencyEstimate.bottleneck` among all plans. See `Planner` for exactly what is searched.
    case exact
}

/// What a planner expects of a plan, and what it turned down.
package struct Prediction: Sendable, Equatable {
    package var planner: PlannerKind
    /// Seconds for one mini-batch, by the planner's own estimate.
    package var stepSeconds: Double
    /// The mean over mini-batches of this run, whose samples differ in length (`StageCosts.meanStepSeconds`); nil where these
    /// are not known.
    package var meanStepSeconds: Double?
    /// One for each stage of the plan, in order.
    package var stages: [StagePrediction]
    /// One for each number of stages considered, the chosen one included, in ascending order.
    package var considered: [PlanCandidate]
    /// Plainer ways to run that were compared with the plan, by name; empty for a plan of the paper's planner.
    package var alternatives: [PlanAlternative]

    package init(
        planner: PlannerKind, stepSeconds: Double, stages: [StagePrediction], considered: [PlanCandidate],
        alternatives: [PlanAlternative] = []
    ) {
        self.planner = planner
        self.stepSeconds = stepSeconds
        self.stages = stages
        self.considered = considered
        self.alternatives = alternatives
    }
}

/// What a planner expects of one stage. All times are seconds for one micro-batch, except the all-reduce's.
package struct StagePrediction: Sendable, Equatable {
    /// e_f of eq. (4): forward of the slowest rank.
    package var forwardSeconds: Double
    /// e_b of eq. (4): backward of the slowest rank.
    package var backwardSeconds: Double
    /// T of eq. (3): forward plus backward of the rank for which the sum is largest.
    package var microBatchSeconds: Double
    /// c_f of eq. (4): hidden state to the next stage; 0 for the last.
    package var forwardTransferSeconds: Double
    /// c_b of eq. (5): gradient back from the next stage; 0 for the last.
    package var backwardTransferSeconds: Double
    /// AR of eq. (5): summing the trainable gradients over the stage group, once per mini-batch.
    package var allReduceSeconds: Double
    /// m_d of eq. (3): peak bytes of each rank, in the order of the stage's ranks.
    package var memoryBytes: [Int]

    package init(
        forwardSeconds: Double, backwardSeconds: Double, microBatchSeconds: Double,
        forwardTransferSeconds: Double,
        backwardTransferSeconds: Double, allReduceSeconds: Double, memoryBytes: [Int]
    ) {
        self.forwardSeconds = forwardSeconds
        self.backwardSeconds = backwardSeconds
        self.microBatchSeconds = microBatchSeconds
        self.forwardTransferSeconds = forwardTransferSeconds
        self.backwardTransferSeconds = backwardTransferSeconds
        self.allReduceSeconds = allReduceSeconds
        self.memoryBytes = memoryBytes
    }
}

/// The best that a planner found with one number of stages.
package struct PlanCandidate: Sendable, Equatable {
    package enum Outcome: Sendable, Equatable {
        /// `bottleneckSeconds` is W of eq. (2), the slowest stage's (or link's) time for one micro-batch.
        case feasible(microBatchCount: Int, stepSeconds: Double, bottleneckSeconds: Double)
        /// No plan of so many stages can run; the reason as a sentence.
        case infeasible(reason: String)
    }

    package var stageCount: Int
    package var outcome: Outcome

    package init(stageCount: Int, outcome: Outcome) {
        self.stageCount = stageCount
        self.outcome = outcome
    }
}

/// What became of a plainer way to run, such as "even shares".
package struct PlanAlternative: Sendable, Equatable {
    package var name: String
    package var outcome: PlanCandidate.Outcome

    package init(name: String, outcome: PlanCandidate.Outcome) {
        self.name = name
        self.outcome = outcome
    }
}

extension Prediction {
    /// Reads `predicted` of a `plan.json`, strictly.
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "planner", "step_seconds", "mean_step_seconds", "stages", "considered", "alternatives",
        ])
        let word = try object.required("planner").choice(PlannerKind.allCases.map(\.rawValue))
        self.init(
            planner: PlannerKind(rawValue: word)!,  // `choice` let only these words through
            stepSeconds: try object.required("step_seconds").seconds(),
            stages: try object.required("stages").array().map { try StagePrediction($0) },
            considered: try object.required("considered").array().map { try PlanCandidate($0) },
            alternatives: try object.optional("alternatives")?.array().map { try PlanAlternative($0) } ?? [])
        meanStepSeconds = try object.optional("mean_step_seconds")?.seconds()
    }

    package var json: JSONValue {
        var pairs: [(String, JSONValue)] = [
            ("planner", JSONValue(planner.rawValue)), ("step_seconds", JSONValue(stepSeconds)),
            ("stages", .array(stages.map(\.json))), ("considered", .array(considered.map(\.json))),
        ]
        if let meanStepSeconds { pairs.insert(("mean_step_seconds", JSONValue(meanStepSeconds)), at: 2) }
        if !alternatives.isEmpty { pairs.append(("alternatives", .array(alternatives.map(\.json)))) }
        return .dictionary(pairs)
    }
}

extension StagePrediction {
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "forward_seconds", "backward_seconds", "micro_batch_seconds", "forward_transfer_seconds",
            "backward_transfer_seconds", "all_reduce_seconds", "memory_bytes",
        ])
        func seconds(_ key: String) throws -> Double { try object.required(key).seconds() }
        self.init(
            forwardSeconds: try seconds("forward_seconds"), backwardSeconds: try seconds("backward_seconds"),
            microBatchSeconds: try seconds("micro_batch_seconds"),
            forwardTransferSeconds: try seconds("forward_transfer_seconds"),
            backwardTransferSeconds: try seconds("backward_transfer_seconds"),
            allReduceSeconds: try seconds("all_reduce_seconds"),
            memoryBytes: try object.required("memory_bytes").array().map { try $0.integer(in: 0...Int.max) })
    }

    package var json: JSONValue {
        .dictionary([
            ("forward_seconds", JSONValue(forwardSeconds)), ("backward_seconds", JSONValue(backwardSeconds)),
            ("micro_batch_seconds", JSONValue(microBatchSeconds)),
            ("forward_transfer_seconds", JSONValue(forwardTransferSeconds)),
            ("backward_transfer_seconds", JSONValue(backwardTransferSeconds)),
            ("all_reduce_seconds", JSONValue(allReduceSeconds)),
            ("memory_bytes", .array(memoryBytes.map { JSONValue($0) })),
        ])
    }
}

extension PlanCandidate {
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["stage_count"] + Outcome.keys)
        self.init(
            stageCount: try object.required("stage_count").integer(in: 1...Int.max),
            outcome: try Outcome(object))
    }

    package var json: JSONValue { .dictionary([("stage_count", JSONValue(stageCount))] + outcome.pairs) }
}

extension PlanAlternative {
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["name"] + PlanCandidate.Outcome.keys)
        self.init(
            name: try object.required("name").string(), outcome: try PlanCandidate.Outcome(object))
    }

    package var json: JSONValue { .dictionary([("name", JSONValue(name))] + outcome.pairs) }
}

extension PlanCandidate.Outcome {
    package static let keys = ["micro_batch_count", "step_seconds", "bottleneck_seconds", "infeasible"]

    /// Reads the keys of an outcome from the object that they stand in.
    package init(_ object: JSONObjectReader) throws {
        if let reason = object.optional("infeasible") {
            self = .infeasible(reason: try reason.string())
        } else {
            self = .feasible(
                microBatchCount: try object.required("micro_batch_count").integer(in: 1...Int.max),
                stepSeconds: try object.required("step_seconds").seconds(),
                bottleneckSeconds: try object.required("bottleneck_seconds").seconds())
        }
    }

    package var pairs: [(String, JSONValue)] {
        switch self {
        case .feasible(let microBatchCount, let stepSeconds, let bottleneckSeconds):
            [
                ("micro_batch_count", JSONValue(microBatchCount)), ("step_seconds", JSONValue(stepSeconds)),
                ("bottleneck_seconds", JSONValue(bottleneckSeconds)),
            ]
        case .infeasible(let reason): [("infeasible", JSONValue(reason))]
        }
    }
}

extension JSONReader {
    /// A duration: a number of at least 0.
    package func seconds() throws -> Double {
        guard let number = value.number, number >= 0 else { throw failure(expected: "seconds of at least 0") }
        return number
    }
}
