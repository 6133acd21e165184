import Reporting

/// The figures of every evaluation, as a curve and as a table.
struct EvaluationSection {
    let run: RunRecord

    /// nil for a run without evaluations.
    var markup: Markup? {
        let evaluations = run.history.evaluations
        guard let first = evaluations.first else { return nil }
        let names = first.metrics.map(\.name)
        // The mean of one figure is that figure.
        let drawn = names.filter { $0 != "mean" || names.count > 2 }
        let series = drawn.enumerated().map { index, name in
            LineChart.Series(
                name, cssClass: "series-\(index % 4)",
                evaluations.compactMap { evaluation in
                    evaluation.metrics.first { $0.name == name }?.value.map {
                        LineChart.Point(x: Double(evaluation.epoch), y: $0)
                    }
                }, isMarked: true)
        }.filter { !$0.points.isEmpty }
        var parts: [Markup] = []
        if !series.isEmpty, evaluations.count > 1 {
            if series.count > 1 { parts.append(.legend(series.map { ($0.cssClass, $0.name) })) }
            parts.append(
                LineChart(
                    label: "figures by epoch", xTitle: "epoch", series, height: 200,
                    title: { "epoch \(Int($1.x)): \($0.name) \(Format.fixed($1.y, 4))" }
                ).markup)
        }
        parts.append(
            .table(
                id: "evaluations",
                [("epoch", .right)] + names.map { ($0, .right) } + [("samples", .right), ("time", .right)],
                evaluations.map { evaluation in
                    ["\(evaluation.epoch)"]
                        + names.map { name in
                            evaluation.metrics.first { $0.name == name }?.value.map { Format.fixed($0, 4) }
                                ?? "–"
                        } + [Format.count(evaluation.samples), Format.duration(evaluation.seconds)]
                }))
        return .section("evaluation", "Evaluation", parts)
    }
}
