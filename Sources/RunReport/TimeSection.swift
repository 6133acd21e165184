import Reporting
import Support

/// How long each epoch and each phase took.
struct TimeSection {
    let run: RunRecord

    /// nil for a run that completed no epoch.
    var markup: Markup? {
        let history = run.history
        guard !history.epochs.isEmpty else { return nil }
        let evaluationSeconds = Dictionary(
            history.evaluations.map { ($0.epoch, $0.seconds) }, uniquingKeysWith: { $1 })
        let rows = history.epochs.map { epoch in
            let evaluation = evaluationSeconds[epoch.epoch]
            return BarChart.Row(
                "epoch \(epoch.epoch)",
                [
                    BarChart.Part(
                        epoch.phase.rawValue, epoch.seconds,
                        title: "training \(epoch.phase.title): \(Format.duration(epoch.seconds))")
                ]
                    + (evaluation.map {
                        [BarChart.Part("evaluation", $0, title: "evaluation: \(Format.duration($0))")]
                    } ?? []), note: Format.duration(epoch.seconds + (evaluation ?? 0)))
        }
        let moves = history.redistributions.map {
            BarChart.Row(
                "redistribution",
                [
                    BarChart.Part(
                        "redistribution", $0.seconds,
                        title: "\(Format.bytes($0.bytes)) in \(Format.duration($0.seconds))")
                ], note: Format.duration($0.seconds))
        }
        let split = history.epochs.firstIndex { $0.phase == .cached } ?? rows.count
        return .section(
            "time", "Time",
            [
                .legend(legend),
                BarChart(
                    label: "seconds of each epoch",
                    Array(rows[..<split]) + moves + Array(rows[split...])
                ).markup,
                table,
            ] + redistributionRemark)
    }

    private var legend: [(cssClass: String, name: String)] {
        let phases = TrainingPhase.allCases.filter { phase in
            run.history.epochs.contains { $0.phase == phase }
        }
        return phases.map { ($0.rawValue, "training \($0.title)") }
            + (run.history.evaluations.isEmpty ? [] : [("evaluation", "evaluation")])
            + (run.history.redistributions.isEmpty ? [] : [("redistribution", "redistribution")])
    }

    private var table: Markup {
        let history = run.history
        return .table(
            id: "epochs",
            [
                ("epoch", .right), ("phase", .left), ("training loss", .right), ("time", .right),
                ("a step", .right), ("samples/s", .right), ("in communication", .right),
                ("waited for the disk", .right),
            ],
            history.epochs.map { epoch in
                let steps = history.steps.filter { $0.epoch == epoch.epoch }
                let samples = steps.reduce(0) { $0 + $1.samples }
                return [
                    "\(epoch.epoch)", epoch.phase.title,
                    epoch.trainLoss.map { Format.fixed($0, 4) } ?? "no number",
                    Format.duration(epoch.seconds),
                    steps.isEmpty
                        ? "–" : Format.milliseconds(TimingStatistics.median(steps.map(\.seconds))),
                    epoch.seconds > 0 ? Format.fixed(Double(samples) / epoch.seconds, 1) : "–",
                    epoch.communicationShare.map(Format.percent) ?? "–",
                    epoch.diskWaitSeconds.map(Format.duration) ?? "–",
                ]
            })
    }

    private var redistributionRemark: [Markup] {
        run.history.redistributions.map {
            .remark(
                "The cache changed hands, after what had moved before: \(Format.bytes($0.bytes)) in "
                    + "\(Format.duration($0.seconds)). A step's time is the median of the epoch.")
        }
    }
}
