import Plans
import Reporting
import Support

/// What the planner expected of the stages beside what was measured.
struct PredictionSection {
    let run: RunRecord

    /// A quantity of the plan: seconds expected and seconds measured.
    private struct Row {
        let name: String
        let cssClass: String
        let predicted: Double?
        let measured: Double?
    }

    /// nil where no step with the backbone was traced.
    var markup: Markup? {
        guard !run.tracedSteps(.pipeline).isEmpty else { return nil }
        let rows = rows
        var parts: [Markup] = [
            BarChart(
                label: "measured and predicted seconds",
                rows.map { row in
                    BarChart.Row(
                        row.name,
                        row.measured.map {
                            [BarChart.Part(row.cssClass, $0, title: "measured: \(Format.duration($0))")]
                        } ?? [],
                        marks: row.predicted.map {
                            [BarChart.Part("mark", $0, title: "predicted: \(Format.duration($0))")]
                        } ?? [], note: note(row))
                }
            ).markup,
            .table(
                id: "predictions",
                [
                    ("", .left), ("predicted", .right), ("measured", .right),
                    ("measured / predicted", .right),
                ], rows.map(cells)),
            .remark(
                (run.plan.predicted == nil
                    ? "The plan was given, so nothing was predicted. "
                    : "Bars are measured, the marks across them predicted. ")
                    + "Forward and backward: of one micro-batch on the stage's slowest rank. All-reduce: on the rank that "
                    + "came to it last, which waits for nobody. Measured times are medians of the traced steps; a mini-batch's is "
                    + "that of all steps with the backbone."),
        ]
        if let predicted = run.plan.predicted { parts += considered(predicted) }
        return .section("prediction", "Predicted and measured", parts)
    }

    private func note(_ row: Row) -> String {
        guard let measured = row.measured else { return "" }
        return row.predicted.map { "\(Format.fixed(measured * 1e3, 2)) / \(Format.milliseconds($0))" }
            ?? Format.milliseconds(measured)
    }

    private func cells(_ row: Row) -> [String] {
        let ratio: String? =
            if let predicted = row.predicted, let measured = row.measured, predicted > 0 {
                Format.fixed(measured / predicted, 2)
            } else { nil }
        return [
            row.name, row.predicted.map(Format.milliseconds) ?? "–",
            row.measured.map(Format.milliseconds) ?? "–",
            ratio ?? "–",
        ]
    }

    private var rows: [Row] {
        let predicted = run.plan.predicted
        let spans = run.tracedSteps(.pipeline).flatMap { run.spans(step: $0) }
        var steps = run.history.steps.filter { $0.phase == .pipeline }.map(\.seconds)
        if steps.count > 1 { steps.removeFirst() }
        let whole = Row(
            name: "mini-batch", cssClass: "pipeline", predicted: predicted?.stepSeconds,
            measured: median(steps))
        let stages = run.plan.stages.enumerated().flatMap { index, stage -> [Row] in
            let expected = predicted?.stages[index]
            let own = spans.filter { stage.ranks.contains($0.rank) }
            return [
                Row(
                    name: "stage \(index) forward", cssClass: "forward", predicted: expected?.forwardSeconds,
                    measured: slowest(.forward, stage, own)),
                Row(
                    name: "stage \(index) backward", cssClass: "backward",
                    predicted: expected?.backwardSeconds, measured: slowest(.backward, stage, own)),
            ]
                + (stage.ranks.count > 1
                    ? [
                        Row(
                            name: "stage \(index) all-reduce", cssClass: "all_reduce",
                            predicted: expected?.allReduceSeconds, measured: quickestSum(own))
                    ] : [])
        }
        return [whole] + stages
    }

    /// The largest of the ranks' medians.
    private func slowest(_ category: TraceCategory, _ stage: StagePlan, _ spans: [TraceSpan]) -> Double? {
        stage.ranks.compactMap { rank in
            median(spans.filter { $0.rank == rank && $0.category == category }.map(\.seconds))
        }.max()
    }

    /// The median over the steps of the shortest all-reduce of the stage's gradients.
    private func quickestSum(_ spans: [TraceSpan]) -> Double? {
        let name = PipelineAction.allReduceGradients.description
        let sums = Dictionary(grouping: spans.filter { $0.name == name }, by: \.arguments.step)
        return median(sums.values.compactMap { $0.map(\.seconds).min() })
    }

    private func median(_ values: [Double]) -> Double? {
        values.isEmpty ? nil : TimingStatistics.median(values)
    }

    /// The plans that were compared, by number of stages.
    private func considered(_ predicted: Prediction) -> [Markup] {
        guard !predicted.considered.isEmpty else { return [] }
        return [
            .element("h3", [:], "What the \(predicted.planner.rawValue) planner compared"),
            .table(
                id: "considered", [("stages", .right), ("a mini-batch", .right), ("", .left)],
                predicted.considered.map { candidate in
                    switch candidate.outcome {
                    case .feasible(let microBatchCount, let stepSeconds, _):
                        let isChosen = candidate.stageCount == run.plan.stages.count
                        let count = "\(microBatchCount) micro-batch" + (microBatchCount == 1 ? "" : "es")
                        return [
                            "\(candidate.stageCount)", Format.milliseconds(stepSeconds),
                            isChosen ? "\(count), chosen" : count,
                        ]
                    case .infeasible(let reason): return ["\(candidate.stageCount)", "–", reason]
                    }
                }),
        ]
    }
}
