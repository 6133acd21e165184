import Plans
import Reporting
import Support
import TextData

/// What was run, on what, and how it ended.
struct HeadingSection {
    let run: RunRecord

    var markup: Markup {
        let (experiment, history) = (run.experiment, run.history)
        var parts: [Markup] = [
            .element("h1", [:], experiment.name),
            .paragraph(
                [
                    experiment.model.path, task, technique,
                    "system \(experiment.parallelism.system.rawValue)",
                ].joined(separator: " · ")),
            .element("dl", ["class": "figures"], figures.map { figure($0.0, $0.1) }),
        ]
        if history.end == nil {
            parts.append(
                .element(
                    "p", ["class": "warning"],
                    "This run did not come to its end: metrics.jsonl has no event \"end\"."))
        }
        parts.append(.element("h3", [:], "Plan"))
        parts.append(
            .element(
                "ul", ["class": "plan"],
                run.plan.description.split(separator: "\n").map { .element("li", [:], String($0)) }))
        return .element("header", [:], parts)
    }

    private var task: String {
        let task = run.experiment.task
        return task.kind.rawValue + (task.name.map { " \($0.rawValue)" } ?? "")
    }

    /// The technique with its settings, as the experiment has them.
    private var technique: String {
        let members = run.experiment.technique.json.members ?? []
        let settings = members.filter { $0.key != "kind" && $0.value != .null }.map {
            "\($0.key) \($0.value.string ?? $0.value.text())"
        }
        return run.experiment.technique.kind
            + (settings.isEmpty ? "" : " (\(settings.joined(separator: ", ")))")
    }

    private var figures: [(String, String)] {
        let history = run.history
        let start = history.start
        var figures: [(String, String)] = []
        if let last = history.evaluations.last {
            for metric in last.metrics where last.metrics.count < 3 || metric.name == "mean" {
                guard metric.name != "mean" || last.metrics.count > 2 else { continue }
                figures.append((metric.name, metric.value.map { Format.fixed($0, 4) } ?? "no number"))
            }
        }
        if let loss = history.epochs.last?.trainLoss {
            figures.append(("training loss of the last epoch", Format.fixed(loss, 4)))
        }
        if let end = history.end { figures.append(("from start to end", Format.duration(end.seconds))) }
        figures.append(("steps", Format.count(history.steps.count)))
        figures.append(
            (
                "parameters trained",
                Format.percent(Double(start.trainableParameters) / Double(max(1, start.totalParameters)))
            ))
        let hostCount = Set(start.hosts).count
        figures.append(
            (hostCount == 1 ? "ranks on one host" : "ranks on \(hostCount) hosts", "\(start.ranks)"))
        return figures
    }

    private func figure(_ name: String, _ value: String) -> Markup {
        .element("div", [:], [.element("dt", [:], name), .element("dd", [:], value)])
    }
}
