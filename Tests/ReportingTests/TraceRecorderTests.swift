import Reporting
import Support
import Testing

@Suite struct TraceRecorderTests {
    @Test("the first 20 steps and 9 of every power of ten are recorded")
    func theFirstStepsAndNineOfEveryPowerOfTenAreRecorded() {
        let expected =
            Array(1...20) + [30, 40, 50, 60, 70, 80, 90] + (1...9).map { $0 * 100 }
            + (1...9).map { $0 * 1000 }
        #expect((-5...9999).filter(StepSampling.contains) == expected)
    }

    @Test("what is measured in a recorded step is kept, and nothing between") func whatIsMeasuredIsKept()
        throws
    {
        let trace = TraceRecorder(rank: 3)
        trace.beginPhase(completedSteps: 100)
        #expect(trace.measure("F0", .forward) { 5 } == 5)
        #expect(trace.spans.isEmpty)
        trace.beginStep(101, epoch: 2)
        #expect(trace.recordedStep == 101)
        trace.measure("RF0", .receive) { trace.measure("from 1", .wait, peer: 1, bytes: 12) {} }
        trace.endStep()
        trace.beginStep(121, epoch: 2)
        #expect(trace.recordedStep == nil && trace.measure("F0", .forward) { 7 } == 7)
        trace.endStep()
        trace.measureAlways("save", .save) {}
        trace.add("read", .cacheRead, step: 130, bytes: 64, times: 1.5...2)

        #expect(trace.spans.map(\.name) == ["from 1", "RF0", "step 101", "save", "read"])
        #expect(trace.spans.map(\.lane) == [.network, .network, .compute, .compute, .cache])
        #expect(trace.spans.allSatisfy { $0.rank == 3 })
        #expect(trace.spans[0].arguments == TraceArguments(step: 101, peer: 1, bytes: 12))
        #expect(trace.spans[2].arguments == TraceArguments(epoch: 2, step: 101))
        #expect(trace.spans[4].start == 1.5 && trace.spans[4].seconds == 0.5)
        for (inner, outer) in [(0, 1), (1, 2)] {
            #expect(trace.spans[inner].start >= trace.spans[outer].start)
            #expect(trace.spans[inner].end <= trace.spans[outer].end)
        }
        #expect(trace.isRecorded(step: 120) && !trace.isRecorded(step: 121) && trace.isRecorded(step: 200))
        #expect(!trace.isRecorded(step: 100))
    }

    @Test("what fails is recorded too") func whatFailsIsRecordedToo() throws {
        let trace = TraceRecorder(rank: 0)
        trace.beginStep(1, epoch: 1)
        let failure = Failure.run("rank 1 is gone")
        #expect(throws: failure) { try trace.measure("RF0", .receive) { throw failure } }
        #expect(trace.spans.map(\.name) == ["RF0"])
    }

    /// A step of 50 ms with 50 stretches may spend 10 µs on each and stays within 1 %; a tenth of that is plenty.
    @Test("recording is cheap") func recordingIsCheap() {
        let trace = TraceRecorder(rank: 0)
        trace.beginStep(1, epoch: 1)
        // The best of several batches: a busy machine may take the core away at any time.
        let best = (0..<20).map { _ in
            let start = MonotonicClock.seconds
            for index in 0..<1000 { trace.measure("F\(index % 8)", .forward) {} }
            return (MonotonicClock.seconds - start) / 1000
        }.min()!
        #expect(trace.spans.count == 20_000)
        #expect(best < 2e-6, "\(best * 1e9) ns a stretch")
    }
}

@Suite struct ClockAlignmentTests {
    @Test("the difference is that of the quickest exchange, within its error")
    func theDifferenceIsThatOfTheQuickestExchange() {
        // The other clock is 1000 s ahead; a message takes 30 µs there and 50 µs back, once 5 ms back.
        let exchanges = [0.0, 1, 2].map { start in
            let back = start == 1 ? 0.005 : 50e-6
            return (sent: start, answer: 1000 + start + 30e-6, received: start + 30e-6 + back)
        }
        #expect(abs(ClockAlignment.difference(exchanges) - 1000) <= 40e-6)
        // What is within the error is taken for one clock.
        #expect(ClockAlignment.difference([(sent: 5, answer: 5.00009, received: 5.0001)]) == 0)
        #expect(ClockAlignment.difference([(sent: 5, answer: 5.00011, received: 5.0001)]) > 0)
    }

    @Test("between measurements the difference drifts evenly")
    func betweenMeasurementsTheDifferenceDriftsEvenly() {
        var clock = ClockAlignment()
        #expect(clock.shared(7) == 7)
        clock.add(local: 100, difference: -100)
        clock.add(local: 200, difference: -99)
        clock.add(local: 300, difference: -99)
        for (local, shared) in [
            (50.0, -50.0), (100, 0), (150, 50.5), (200, 101), (250, 151), (300, 201), (400, 301),
        ] {
            #expect(abs(clock.shared(local) - shared) < 1e-9, "\(local)")
        }
        let moved = clock.shared([
            TraceSpan(rank: 1, name: "F0", category: .forward, start: 100, seconds: 100)
        ])
        #expect(abs(moved[0].start) < 1e-9 && abs(moved[0].seconds - 101) < 1e-9)
    }
}
