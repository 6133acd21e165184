import Plans
import Reporting

/// The time line of one mini-batch in each phase: what every rank did when.
struct TimelineSection {
    let run: RunRecord

    /// Ranks that a page has room for.
    private static let rankLimit = 16

    /// nil where no step was traced.
    var markup: Markup? {
        let parts = TrainingPhase.allCases.flatMap(phase)
        guard !parts.isEmpty else { return nil }
        return .section("timeline", "One mini-batch, rank by rank", [legend] + parts)
    }

    /// What is drawn, and how a legend names it.
    private static let names: [(category: TraceCategory, name: String)] = [
        (.forward, "forward"), (.backward, "backward"), (.optimizer, "optimizer"), (.transfer, "send"),
        (.receive, "receive"), (.wait, "wait for a rank"), (.allReduce, "all-reduce"),
        (.cacheWrite, "cache write"), (.cacheRead, "cache read"), (.cacheWait, "wait for the disk"),
    ]

    private var legend: Markup {
        let seen = Set(run.measured.spans.map(\.category))
        return .legend(
            Self.names.filter { seen.contains($0.category) }.map { ($0.category.rawValue, $0.name) })
    }

    private func phase(_ phase: TrainingPhase) -> [Markup] {
        guard let step = typicalStep(phase), let window = window(step) else { return [] }
        let ranks = run.measured.ranks.prefix(Self.rankLimit)
        let measured = spans(step, within: window)
        let predicted = phase == .pipeline ? predicted(from: window.lowerBound) : []
        let bands = ranks.flatMap { rank -> [TimelineChart.Band] in
            let expected = predicted.filter { $0.rank == rank }
            return [
                TimelineChart.Band(
                    "rank \(rank)",
                    detail: run.plan.stageIndex(ofRank: rank).map { phase == .pipeline ? "stage \($0)" : "" }
                        ?? "in no stage", measured.filter { $0.rank == rank })
            ] + (expected.isEmpty ? [] : [TimelineChart.Band("predicted", detail: "rank \(rank)", expected)])
        }
        let seconds = window.upperBound - window.lowerBound
        return [
            .element("h3", [:], "Step \(step), \(phase.title): \(Format.duration(seconds))"),
            TimelineChart(label: "what every rank did in step \(step)", bands).markup,
            shares(measured, phase, seconds),
        ]
            + (run.measured.ranks.count > ranks.count
                ? [.remark("The first \(ranks.count) of \(run.measured.ranks.count) ranks.")] : [])
    }

    /// The traced step that took the median time.
    private func typicalStep(_ phase: TrainingPhase) -> Int? {
        let lengths = run.tracedSteps(phase).compactMap { step in
            window(step).map { (step: step, seconds: $0.upperBound - $0.lowerBound) }
        }.sorted { $0.seconds < $1.seconds }
        return lengths.isEmpty ? nil : lengths[(lengths.count - 1) / 2].step
    }

    /// From the first rank's start of a step to the last one's end.
    private func window(_ step: Int) -> ClosedRange<Double>? {
        let whole = run.spans(step: step).filter { $0.category == .step }
        guard let start = whole.map(\.start).min(), let end = whole.map(\.end).max() else { return nil }
        return start...end
    }

    /// The step's actions and messages, and the I/O threads' spans within its time.
    private func spans(_ step: Int, within window: ClosedRange<Double>) -> [TraceSpan] {
        run.measured.spans.compactMap { span in
            guard span.category != .step, span.category != .epoch else { return nil }
            guard span.lane == .cache else { return span.arguments.step == step ? span : nil }
            let (start, end) = (max(span.start, window.lowerBound), min(span.end, window.upperBound))
            guard start < end else { return nil }
            var clipped = span
            (clipped.start, clipped.seconds) = (start, end - start)
            return clipped
        }
    }

    /// The prediction, moved to begin where the step began.
    private func predicted(from start: Double) -> [TraceSpan] {
        let spans = run.predicted?.spans ?? []
        let first = spans.map(\.start).min() ?? 0
        return spans.filter { $0.category != .step }.map { span in
            var moved = span
            moved.start += start - first
            return moved
        }
    }

    /// How each rank spent the step.
    private func shares(_ spans: [TraceSpan], _ phase: TrainingPhase, _ seconds: Double) -> Markup {
        let columns: [(name: String, categories: Set<TraceCategory>)] = [
            ("forward", [.forward]), ("backward", [.backward]), ("optimizer", [.optimizer]),
            ("send", [.transfer]), ("receive", [.receive]), ("all-reduce", [.allReduce]),
            ("wait for the disk", [.cacheWait]),
        ].filter { column in spans.contains { column.categories.contains($0.category) } }
        let rows = run.measured.ranks.prefix(Self.rankLimit).map { rank -> [String] in
            // Messages and waits within an action are part of it.
            let own = spans.filter { $0.rank == rank && $0.arguments.peer == nil }
            let sums = columns.map { column in
                own.filter { column.categories.contains($0.category) }.reduce(0) { $0 + $1.seconds }
            }
            let computing = own.filter { [.forward, .backward, .optimizer].contains($0.category) }
                .reduce(0) { $0 + $1.seconds }
            return ["\(rank)"] + sums.map(Format.milliseconds)
                + [seconds > 0 ? Format.percent(computing / seconds) : "–"]
        }
        return .table(
            id: "shares-\(phase.rawValue)",
            [("rank", .right)] + columns.map { ($0.name, .right) } + [("computing", .right)], Array(rows))
    }
}
