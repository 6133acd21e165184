import PlanExamples
import Plans
import Support
import Testing
import TinyRuns

/// What a run writes into `trace.json`, as a trace viewer would read it.
@Suite(.serialized) struct TraceTests {
    private static let pairs = Plan.of(
        [(0..<3, [0, 1], [3, 1]), (3..<5, [2, 3], [2, 2])], microBatchCount: 2)
    /// One rank a stage, and one that no stage names.
    private static let chain = Plan.of(
        [(0..<2, [0], [2]), (2..<4, [1], [2]), (4..<5, [2], [2])], microBatchCount: 4)

    /// A complete event.
    private struct Event {
        let name, category: String
        let rank, lane: Int
        /// Nanoseconds, which microseconds with three decimals are whole numbers of.
        let start, end: Int64
        let step, peer, bytes: Int?

        init(_ json: JSONValue) throws {
            func nanoseconds(_ key: String) throws -> Int64 {
                Int64((try #require(json[key]?.number) * 1000).rounded())
            }
            name = try #require(json["name"]?.string)
            category = try #require(json["cat"]?.string)
            rank = try #require(json["pid"]?.integer)
            lane = try #require(json["tid"]?.integer)
            start = try nanoseconds("ts")
            end = try start + nanoseconds("dur")
            step = json["args"]?["step"]?.integer
            peer = json["args"]?["peer"]?.integer
            bytes = json["args"]?["bytes"]?.integer
        }
    }

    private func events(_ run: RunLog) throws -> [Event] {
        let file = try JSONValue(contentsOf: run.directory + "/trace.json")
        return try #require(file["traceEvents"]?.array).filter { $0["ph"] == "X" }.map { try Event($0) }
    }

    /// Whether every two stretches of a lane follow each other or lie one within the other.
    private func expectNesting(_ events: [Event], _ place: String) {
        var open: [Event] = []
        for event in events.sorted(by: { ($0.start, $1.end) < ($1.start, $0.end) }) {
            while let last = open.last, last.end <= event.start { open.removeLast() }
            if let last = open.last {
                #expect(
                    event.end <= last.end,
                    "\(place): \(event.name) in step \(event.step ?? 0) leaves \(last.name)")
            }
            open.append(event)
        }
    }

    @Test("each traced step holds exactly the schedule's actions, on every rank", arguments: [pairs, chain])
    func eachTracedStepHoldsExactlyTheSchedulesActions(plan: Plan) throws {
        let workshop = try Workshop()
        let run = try workshop.train(ranks: 4, "run", plan: plan)
        let all = try events(run)
        for rank in 0..<4 {
            for lane in 0..<3 {
                expectNesting(all.filter { $0.rank == rank && $0.lane == lane }, "rank \(rank), lane \(lane)")
            }
        }

        // 14 steps with the backbone and 28 from the cache, of which the first 20 are traced.
        let steps = Set(all.compactMap(\.step)).sorted()
        #expect(steps == Array(1...14) + Array(15...34))
        let logged = run.events("step")
        for rank in 0..<4 {
            let own = all.filter { $0.rank == rank }
            let stage = plan.stageIndex(ofRank: rank)
            for step in steps {
                let isCached = logged[step - 1]["phase"]?.string == "cached"
                #expect(isCached == (step > 14))
                let events = own.filter { $0.step == step }
                let actions = events.filter { PipelineAction($0.name) != nil }.sorted { $0.start < $1.start }
                // A rank may have none of the samples of an epoch's last mini-batch, which is short.
                let isIdle = isCached && step % 14 == 0 && actions.first?.name == "AR"
                let expected: [PipelineAction] =
                    if isIdle {
                        [.allReduceGradients, .optimizerStep]
                    } else if isCached {
                        PipelineSchedule.oneForwardOneBackward.actions(
                            stage: 0, stageCount: 1, microBatchCount: 1)
                    } else if let stage {
                        PipelineSchedule.oneForwardOneBackward.actions(
                            stage: stage, stageCount: plan.stages.count, microBatchCount: plan.microBatchCount
                        )
                    } else { [] }
                #expect(
                    actions.map(\.name).joined(separator: " ") == PipelineSchedule.text(expected),
                    "rank \(rank), step \(step)")
                let whole = events.filter { $0.category == "step" }
                #expect(whole.count == 1)
                for action in actions {
                    #expect(action.start >= whole[0].start && action.end <= whole[0].end)
                }
            }
            let epochs = own.filter { $0.category == "epoch" }
            #expect(epochs.map(\.name).sorted() == ["epoch 1", "epoch 2", "epoch 3"])
            #expect(
                own.count { $0.category == "evaluation" } == 3 && own.count { $0.category == "save" } == 3)
            #expect(own.count { $0.category == "redistribution" } == 1)
        }
        try expectMessages(all)
        try expectCache(all, run, plan)
    }

    /// What one rank sends is what the other waits for, and nothing arrives before it was sent: the ranks' clocks agree.
    private func expectMessages(_ all: [Event]) throws {
        struct Way: Hashable { let step, from, to: Int }
        func ways(_ category: String, _ way: (Event, Int) -> Way) -> [Way: [Event]] {
            Dictionary(
                grouping: all.filter { $0.category == category && $0.peer != nil }.sorted {
                    $0.start < $1.start
                },
                by: { way($0, $0.peer!) })
        }
        let sent = ways("transfer") { Way(step: $0.step!, from: $0.rank, to: $1) }
        let received = ways("wait") { Way(step: $0.step!, from: $1, to: $0.rank) }
        #expect(!sent.isEmpty && Set(sent.keys) == Set(received.keys))
        for (way, messages) in sent {
            let waits = received[way] ?? []
            #expect(waits.compactMap(\.bytes) == messages.compactMap(\.bytes), "\(way)")
            for (message, wait) in zip(messages, waits) {
                #expect(message.bytes! > 0 && wait.end >= message.start, "\(way)")
            }
        }
    }

    /// Every traced activation is written once and read once, by whichever ranks.
    private func expectCache(_ all: [Event], _ run: RunLog, _ plan: Plan) throws {
        func bytes(_ category: String, steps: ClosedRange<Int>) -> Int {
            all.filter { $0.category == category && steps.contains($0.step ?? 0) }.reduce(0) {
                $0 + $1.bytes!
            }
        }
        func tokens(_ steps: ClosedRange<Int>) throws -> Int {
            try run.events("step").filter { steps.contains($0["step"]!.integer!) }
                .reduce(0) { $0 + (try #require($1["tokens"]?.integer)) }
        }
        // Activations of the embedding and three blocks: 4 layers x 32 numbers x 4 bytes.
        #expect(bytes("cache_read", steps: 15...34) == (try tokens(15...34)) * 4 * 32 * 4)
        #expect(bytes("cache_write", steps: 1...14) == (try tokens(1...14)) * 4 * 32 * 4)
    }

    @Test("one rank and one epoch without evaluation") func oneRankAndOneEpochWithoutEvaluation() throws {
        let workshop = try Workshop()
        let run = try workshop.train(
            "run", plan: .alone(layerCount: 5),
            settings: ["training.epochs=1", "training.max_steps=2", "task.validation=null"])
        let all = try events(run)
        #expect(Set(all.map(\.rank)) == [0])
        for step in 1...2 {
            let actions = all.filter { $0.step == step && PipelineAction($0.name) != nil }.sorted {
                $0.start < $1.start
            }
            #expect(actions.map(\.name) == ["F0", "B0", "AR", "OS"])
        }
        // The traced time is that of the log.
        for step in run.events("step") {
            let traced = try #require(all.first { $0.category == "step" && $0.step == step["step"]?.integer })
            let logged = try #require(step["seconds"]?.number)
            #expect(Double(traced.end - traced.start) * 1e-9 > logged - 1e-3)
            // The log's line follows the step by as long as it takes to write it.
            #expect(abs(Double(traced.start) * 1e-9 + logged - step["time"]!.number!) < 0.05)
        }
    }
}
