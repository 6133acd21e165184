import Support

/// Records what a rank does and when: one appended struct for each stretch of time, on the rank's own clock.
///
/// Stretches within a step are kept when `StepSampling` picks the step, so that neither the memory nor the file grows with
/// the length of a run. For the main thread only; what another thread measured is handed in by `add`.
public final class TraceRecorder {
    public let rank: Int
    /// What was recorded, in the order in which it ended. Times are those of `MonotonicClock`.
    public private(set) var spans: [TraceSpan] = []
    private var completedBefore = 0
    private var current: (step: Int, epoch: Int, start: Double)?

    public init(rank: Int) { self.rank = rank }

    /// Starts a phase: its steps are counted from here.
    ///
    /// - Parameter completedSteps: of the run so far.
    public func beginPhase(completedSteps: Int) { completedBefore = completedSteps }

    /// Whether a step, numbered from 1 over the whole run, is one that is recorded.
    public func isRecorded(step: Int) -> Bool { StepSampling.contains(step - completedBefore) }

    /// Starts a step; what is measured until `endStep` belongs to it.
    public func beginStep(_ step: Int, epoch: Int) {
        guard isRecorded(step: step) else { return }
        current = (step, epoch, MonotonicClock.seconds)
    }

    /// Ends the step and records it as a whole; does nothing where none was begun.
    public func endStep() {
        guard let current else { return }
        append(
            "step \(current.step)", .step, current.start,
            TraceArguments(epoch: current.epoch, step: current.step))
        self.current = nil
    }

    /// The step that is being recorded; nil between steps and in those that are not.
    public var recordedStep: Int? { current?.step }

    /// Runs `body` and records how long it took, if the step is recorded. One that throws is recorded too.
    public func measure<Value>(
        _ name: @autoclosure () -> String, _ category: TraceCategory, peer: Int? = nil, bytes: Int? = nil,
        _ body: () throws -> Value
    ) rethrows -> Value {
        guard let current else { return try body() }
        let start = MonotonicClock.seconds
        defer {
            append(
                name(), category, start, TraceArguments(step: current.step, peer: peer, bytes: bytes))
        }
        return try body()
    }

    /// Runs `body` and records how long it took, in a step or not: for the few stretches that an epoch has.
    public func measureAlways<Value>(
        _ name: @autoclosure () -> String, _ category: TraceCategory, epoch: Int? = nil,
        _ body: () throws -> Value
    ) rethrows -> Value {
        let start = MonotonicClock.seconds
        defer { append(name(), category, start, TraceArguments(epoch: epoch)) }
        return try body()
    }

    /// Adds what another thread measured for a step that is recorded.
    ///
    /// - Parameter times: start and end on `MonotonicClock`.
    public func add(
        _ name: String, _ category: TraceCategory, step: Int, bytes: Int, times: ClosedRange<Double>
    ) {
        spans.append(
            TraceSpan(
                rank: rank, name: name, category: category, start: times.lowerBound,
                seconds: times.upperBound - times.lowerBound,
                arguments: TraceArguments(step: step, bytes: bytes)))
    }

    private func append(
        _ name: String, _ category: TraceCategory, _ start: Double, _ arguments: TraceArguments
    ) {
        spans.append(
            TraceSpan(
                rank: rank, name: name, category: category, start: start,
                seconds: MonotonicClock.seconds - start,
                arguments: arguments))
    }
}
