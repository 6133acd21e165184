import Reporting

/// The loss and the learning rate, step by step.
struct LossSection {
    let run: RunRecord

    /// Points of a curve: more than a page has room for are condensed.
    private static let pointCount = 240

    var markup: Markup? {
        let steps = run.history.steps
        guard !steps.isEmpty else {
            return .section("loss", "Loss", [.paragraph("No step was completed.")])
        }
        let phases = TrainingPhase.allCases.filter { phase in steps.contains { $0.phase == phase } }
        let losses = phases.map { phase in
            series(
                phase,
                steps.filter { $0.phase == phase }.compactMap { step in
                    step.loss.map { (Double(step.step), $0) }
                })
        }.filter { !$0.points.isEmpty }
        let rates = phases.map { phase in
            series(phase, steps.filter { $0.phase == phase }.map { (Double($0.step), $0.learningRate) })
        }
        var parts: [Markup] = []
        if phases.count > 1 { parts.append(.legend(phases.map { ($0.rawValue, $0.title) })) }
        if losses.isEmpty {
            parts.append(.paragraph("The loss was no number from the first step on."))
        } else {
            parts.append(
                LineChart(
                    label: "training loss by step", xTitle: "step", losses, startsAtZero: true,
                    title: { self.title("loss", $0, $1, decimals: 4) }
                ).markup)
        }
        let undefined = steps.count { $0.loss == nil }
        if undefined > 0 {
            parts.append(
                .remark("In \(undefined) of \(steps.count) steps the loss was no number: the run diverged."))
        }
        if steps.count > Self.pointCount {
            parts.append(.remark("Each point is the mean of neighbouring steps; the pale area spans them."))
        }
        parts.append(.element("h3", [:], "Learning rate"))
        parts.append(
            LineChart(
                label: "learning rate by step", xTitle: "step", rates, height: 150, startsAtZero: true,
                title: { self.title("learning rate", $0, $1, decimals: 7) }
            ).markup)
        return .section("loss", "Loss", parts)
    }

    private func series(_ phase: TrainingPhase, _ values: [(x: Double, y: Double)]) -> LineChart.Series {
        // Phases share the points as they share the steps.
        let share = Double(values.count) / Double(max(1, run.history.steps.count))
        let count = max(1, Int((Double(Self.pointCount) * share).rounded()))
        return LineChart.Series(
            phase.title, cssClass: phase.rawValue, LineChart.condensed(values, to: count))
    }

    private func title(
        _ name: String, _ series: LineChart.Series, _ point: LineChart.Point, decimals: Int
    ) -> String {
        "step \(Int(point.x)), \(series.name): \(name) \(Format.fixed(point.y, decimals))"
    }
}
