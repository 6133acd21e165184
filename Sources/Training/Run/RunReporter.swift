import Reporting
import Stages
import Support
import TextData

/// Tells the person at the terminal and the metrics log how a run goes. Silent on all ranks but 0.
package final class RunReporter {
    typealias Phase = TrainingPhase

    private let log: MetricsLog?
    private let progress: ProgressLine?
    private let start: Double
    private var expected = Expectation()
    /// Seconds of the epoch's steps so far, on this rank.
    private var epochTime = (communication: 0.0, total: 0.0)
    /// Peak bytes of this rank so far, for the progress line.
    var peakBytes: () -> Int = { 0 }

    /// Steps still to come, and what a step has taken so far.
    private struct Expectation {
        var remaining: [Phase: Int] = [:]
        var seconds: [Phase: Double] = [:]
        var counts: [Phase: Int] = [:]
        var epochs = 0
        var steps = 0
        /// Evaluations still to come, what one takes, and how many samples it has for each one of training.
        var evaluations = 0
        var evaluationSeconds: Double?
        var evaluationShare = 0.0

        /// Seconds until the end; nil before anything was measured. A cached step that was never seen is taken for a
        /// fifth of one with the backbone.
        var remainingSeconds: Double? {
            guard let pipeline = mean(.pipeline) ?? mean(.cached) else { return nil }
            let cached = mean(.cached) ?? pipeline / 5
            // Before the first evaluation: as long as its samples would take to train.
            let evaluation =
                evaluationSeconds ?? pipeline * Double(steps) / Double(max(1, epochs)) * evaluationShare
            return Double(remaining[.pipeline] ?? 0) * pipeline + Double(remaining[.cached] ?? 0) * cached
                + Double(evaluations) * evaluation
        }

        private func mean(_ phase: Phase) -> Double? {
            counts[phase].map { seconds[phase]! / Double($0) }
        }
    }

    /// - Parameters: `directory` is the run directory on rank 0, nil on all others; `start` is the run's beginning on the
    ///   monotonic clock, moved later by every interruption.
    init(directory: String?, start: Double) throws {
        self.start = start
        let elapsed = Duration.seconds(MonotonicClock.seconds - start)
        log = try directory.map { try MetricsLog(path: RunFile.metrics.path(in: $0), start: .now - elapsed) }
        progress = directory == nil ? nil : ProgressLine(isTerminal: Terminal.isWatched)
    }

    /// A line that stays.
    func note(_ text: String) { progress?.note(text) }

    /// Logs an event with fields that it declares.
    func event(_ event: MetricsEvent, _ fields: [(String, JSONValue)]) throws {
        precondition(
            fields.allSatisfy { event.fields.contains($0.0) }, "a \(event.rawValue) event declares its fields"
        )
        try log?.append(event, fields)
    }

    /// What lies ahead: steps in each phase, and evaluations with so many samples for each one of training.
    ///
    /// - Parameters: `completedSteps` and `closedEpochs` were done before this launch.
    func expect(
        pipelineSteps: Int, cachedSteps: Int, completedSteps: Int, epochs: Int, closedEpochs: Int,
        evaluationShare: Double
    ) {
        expected.evaluationShare = evaluationShare
        expected.evaluations = evaluationShare > 0 ? epochs - closedEpochs : 0
        expected.remaining = [.pipeline: pipelineSteps, .cached: cachedSteps]
        expected.steps = completedSteps + pipelineSteps + cachedSteps
        expected.epochs = epochs
    }

    /// Logs where a run resumes.
    ///
    /// - Parameter samples: of the cache, those that are there and those that were and must be computed again; nil without
    ///   a cache.
    func resumed(
        _ point: ResumePoint, epoch: Int, ranks: Int, samples: (reused: Int, recomputed: Int)? = nil
    ) throws {
        let step = point.checkpoint.step
        let cache = samples.map {
            "; of the cache \($0.reused) samples are there, \($0.recomputed) must be computed again"
        }
        note(
            "resumed after step \(step), in epoch \(epoch), with \(Format.count(point.checkpoint.trainableCount)) "
                + "trained parameters" + (cache ?? ""))
        try event(
            .resume,
            [
                ("epoch", JSONValue(epoch)), ("step", JSONValue(step)),
                ("ranks", JSONValue(ranks)),
                ("trainable_parameters", JSONValue(point.checkpoint.trainableCount)),
                ("reused_samples", JSONValue(optional: samples?.reused)),
                ("recomputed_samples", JSONValue(optional: samples?.recomputed)),
            ])
    }

    /// Shows the progress of a forward-only pass that fills the cache.
    func activations(_ done: Int, of total: Int, seconds: Double) {
        progress?.update(
            "activations  \(done)/\(total) samples  \(Format.rate(Double(done) / seconds, "samples"))  "
                + "peak \(Format.bytes(peakBytes()))  ETA "
                + Format.duration(seconds / Double(done) * Double(total - done)))
    }

    /// Logs the end of a forward-only pass that fills the cache.
    func activations(_ samples: Int, _ time: PhaseTime) throws {
        progress?.finish()
        note(
            "activations of \(samples) samples in \(Format.duration(time.seconds)), "
                + "\(Format.percent(time.communicationShare)) in communication")
        try event(.activations, [("samples", JSONValue(samples))] + time.fields)
    }

    /// Closes a step.
    ///
    /// - Parameter communicationSeconds: how much of its time this rank spent on messages.
    func step(
        epoch: Int, step: Int, phase: Phase, loss: Double, learningRate: Double, samples: Int, tokens: Int,
        seconds: Double, communicationSeconds: Double
    ) throws {
        guard let progress else { return }
        expected.remaining[phase, default: 0] -= 1
        expected.seconds[phase, default: 0] += seconds
        expected.counts[phase, default: 0] += 1
        epochTime.communication += communicationSeconds
        epochTime.total += seconds
        try event(
            .step,
            [
                ("epoch", JSONValue(epoch)), ("step", JSONValue(step)), ("phase", .string(phase.rawValue)),
                ("loss", JSONValue(loss)), ("learning_rate", JSONValue(learningRate)),
                ("samples", JSONValue(samples)),
                ("tokens", JSONValue(tokens)), ("seconds", JSONValue(seconds)),
                ("communication_seconds", JSONValue(communicationSeconds)),
            ])
        let share = Format.fixed(100 * epochTime.communication / epochTime.total, 0)
        let remaining = expected.remainingSeconds.map { "  ETA \(Format.duration($0))" } ?? ""
        progress.update(
            "epoch \(epoch)/\(expected.epochs)  step \(step)/\(expected.steps)  \(phase.rawValue)  "
                + "loss \(Format.fixed(loss, 4))  lr \(Format.fixed(learningRate, 6))  "
                + "\(Format.rate(Double(samples) / seconds, "samples"))  \(Format.rate(Double(tokens) / seconds, "tokens"))  "
                + "comm \(share) %  peak \(Format.bytes(peakBytes()))" + remaining)
    }

    /// Closes an epoch.
    ///
    /// - Parameters: `loss` is the mean over its samples; `waitedForDisk` are the seconds that rank 0 waited for its cache
    ///   file.
    func epoch(
        _ epoch: Int, phase: Phase, loss: Double, _ time: PhaseTime, waitedForDisk: Double? = nil
    ) throws {
        guard log != nil else { return }
        epochTime = (0, 0)
        progress?.finish()
        note(
            "epoch \(epoch) (\(phase == .pipeline ? "with the backbone" : "from the cache")): "
                + "loss \(Format.fixed(loss, 4)) in \(Format.duration(time.seconds)), "
                + "\(Format.percent(time.communicationShare)) in communication")
        try event(
            .epoch,
            [
                ("epoch", JSONValue(epoch)), ("phase", .string(phase.rawValue)),
                ("train_loss", JSONValue(loss)),
            ] + time.fields + (waitedForDisk.map { [("disk_wait_seconds", JSONValue($0))] } ?? []))
    }

    func evaluation(_ epoch: Int, _ metrics: Metrics, samples: Int, seconds: Double) throws {
        expected.evaluations -= 1
        expected.evaluationSeconds = seconds
        note(
            "validation after epoch \(epoch): "
                + metrics.values.map { "\($0.name) \(Format.fixed($0.value, 4))" }.joined(separator: ", "))
        try event(
            .evaluation,
            [
                ("epoch", JSONValue(epoch)), ("metrics", metrics.json), ("samples", JSONValue(samples)),
                ("seconds", JSONValue(seconds)),
            ])
    }

    /// Seconds since the run began.
    var seconds: Double { MonotonicClock.seconds - start }
}

extension Metrics {
    /// The `metrics` object of the log.
    package var json: JSONValue { .dictionary(values.map { ($0.name, JSONValue($0.value)) }) }
}
