import Plans
import Support
import Testing

/// What running every stage's list against its neighbours' showed.
private struct Execution {
    var finished = true
    /// The most micro-batches that each stage held between forward and backward.
    var mostInFlight: [Int]
    var forwards: [[Int]]
    var backwards: [[Int]]
    /// Messages that arrived for another micro-batch than the one awaited.
    var misorderedMessages = 0

    /// Runs all lists with asynchronous sends and receives that take messages in the order in which they were sent.
    init(_ lists: [[PipelineAction]]) {
        let count = lists.count
        mostInFlight = Array(repeating: 0, count: count)
        forwards = Array(repeating: [], count: count)
        backwards = forwards
        var position = Array(repeating: 0, count: count)
        // [i]: sent by stage i - 1, not yet taken by i
        var downstream = Array(repeating: [Int](), count: count + 1)
        var upstream = downstream  // [i]: sent by stage i, not yet taken by i - 1
        var progressed = true
        while progressed {
            progressed = false
            for stage in 0..<count {
                while position[stage] < lists[stage].count, take(lists[stage][position[stage]], at: stage) {
                    position[stage] += 1
                    progressed = true
                }
            }
        }
        finished =
            (0..<count).allSatisfy { position[$0] == lists[$0].count }
            && downstream.allSatisfy(\.isEmpty) && upstream.allSatisfy(\.isEmpty)

        func take(_ action: PipelineAction, at stage: Int) -> Bool {
            switch action {
            case .receiveForward(let m):
                guard !downstream[stage].isEmpty else { return false }
                if downstream[stage].removeFirst() != m { misorderedMessages += 1 }
            case .receiveBackward(let m):
                guard !upstream[stage + 1].isEmpty else { return false }
                if upstream[stage + 1].removeFirst() != m { misorderedMessages += 1 }
            case .sendForward(let m): downstream[stage + 1].append(m)
            case .sendBackward(let m): upstream[stage].append(m)
            case .forward(let m):
                forwards[stage].append(m)
                mostInFlight[stage] = max(mostInFlight[stage], forwards[stage].count - backwards[stage].count)
            case .backward(let m): backwards[stage].append(m)
            case .allReduceGradients, .optimizerStep: break
            }
            return true
        }
    }
}

private let grid = (1...6).flatMap { stageCount in (1...12).map { (stageCount, $0) } }

@Suite("PipelineSchedule")
struct PipelineScheduleTests {
    @Test("1F1B of all stages runs to completion within the in-flight bound", arguments: grid)
    func oneForwardOneBackwardCompletes(stageCount: Int, microBatchCount: Int) {
        let lists = (0..<stageCount).map {
            PipelineSchedule.oneForwardOneBackward.actions(
                stage: $0, stageCount: stageCount, microBatchCount: microBatchCount)
        }
        let execution = Execution(lists)
        #expect(execution.finished)
        #expect(execution.misorderedMessages == 0)
        let all = Array(0..<microBatchCount)
        for stage in 0..<stageCount {
            #expect(execution.forwards[stage] == all)
            #expect(execution.backwards[stage] == all)
            #expect(execution.mostInFlight[stage] == min(microBatchCount, stageCount - stage))
            #expect(Set(lists[stage]).count == lists[stage].count)
            #expect(lists[stage].suffix(2) == [.allReduceGradients, .optimizerStep])
            expectNeighboursMatched(lists[stage], hasPrevious: stage > 0, hasNext: stage < stageCount - 1)
        }
    }

    /// Every forward stands between its receive and its send, every backward likewise, and the ends of the pipeline have
    /// neither neighbour.
    private func expectNeighboursMatched(_ list: [PipelineAction], hasPrevious: Bool, hasNext: Bool) {
        for (index, action) in list.enumerated() {
            switch action {
            case .forward(let m):
                #expect((index > 0 && list[index - 1] == .receiveForward(m)) == hasPrevious)
                #expect((list[index + 1] == .sendForward(m)) == hasNext)
            case .backward(let m):
                #expect((index > 0 && list[index - 1] == .receiveBackward(m)) == hasNext)
                #expect((list[index + 1] == .sendBackward(m)) == hasPrevious)
            default: break
            }
        }
    }

    @Test("forward-only lists run to completion and hold no gradient action", arguments: grid)
    func forwardOnlyCompletes(stageCount: Int, microBatchCount: Int) {
        let lists = (0..<stageCount).map {
            PipelineSchedule.forwardOnly(stage: $0, stageCount: stageCount, microBatchCount: microBatchCount)
        }
        let execution = Execution(lists)
        #expect(execution.finished)
        #expect(execution.misorderedMessages == 0)
        #expect(execution.forwards.allSatisfy { $0 == Array(0..<microBatchCount) })
        #expect(execution.backwards.allSatisfy { $0.isEmpty })
        #expect(lists.allSatisfy { !$0.contains(.optimizerStep) })
    }

    @Test("golden texts")
    func goldenTexts() {
        func text(_ stage: Int, of count: Int, _ microBatchCount: Int) -> String {
            PipelineSchedule.text(
                PipelineSchedule.oneForwardOneBackward.actions(
                    stage: stage, stageCount: count, microBatchCount: microBatchCount))
        }
        #expect(text(0, of: 1, 2) == "F0 B0 F1 B1 AR OS")
        #expect(text(0, of: 3, 4) == "F0 SF0 F1 SF1 F2 SF2 RB0 B0 F3 SF3 RB1 B1 RB2 B2 RB3 B3 AR OS")
        #expect(
            text(1, of: 3, 4)
                == "RF0 F0 SF0 RF1 F1 SF1 RB0 B0 SB0 RF2 F2 SF2 RB1 B1 SB1 RF3 F3 SF3 RB2 B2 SB2 RB3 B3 SB3 AR OS"
        )
        #expect(text(2, of: 3, 4) == "RF0 F0 B0 SB0 RF1 F1 B1 SB1 RF2 F2 B2 SB2 RF3 F3 B3 SB3 AR OS")
        #expect(text(0, of: 4, 1) == "F0 SF0 RB0 B0 AR OS")
        #expect(
            PipelineSchedule.text(PipelineSchedule.forwardOnly(stage: 1, stageCount: 3, microBatchCount: 2))
                == "RF0 F0 SF0 RF1 F1 SF1")
    }

    @Test("text parses back to the same actions")
    func textRoundTrip() throws {
        let actions = PipelineSchedule.oneForwardOneBackward.actions(
            stage: 1, stageCount: 4, microBatchCount: 11)
        #expect(try PipelineSchedule.parse(PipelineSchedule.text(actions)) == actions)
        #expect(try PipelineSchedule.parse("") == [])
    }

    @Test(
        "text that is no action is refused",
        arguments: ["X0", "F", "F-1", "F01", "F 0", "AR1", "rf0", "OS0", "F0x", "F99999999999999999999"])
    func badText(word: String) {
        #expect(throws: Failure.self) { try PipelineSchedule.parse("F0 \(word)") }
    }

    @Test("the error names the action's position")
    func badTextMessage() {
        #expect(
            throws: Failure.configuration(
                "schedule: action 2: expected RF, F, SF, RB, B or SB with a micro-batch, AR or OS, found \"G1\""
            )
        ) { try PipelineSchedule.parse("F0 B0 G1 OS") }
    }
}
