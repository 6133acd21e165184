import Reporting

/// The peaks of every rank's memory by category, beside its budget and what the plan expected.
struct MemorySection {
    let run: RunRecord

    /// nil for a run that ended before it reported its memory.
    var markup: Markup? {
        let events = run.history.memory
        guard !events.isEmpty else { return nil }
        let categories = names(events)
        let phases = TrainingPhase.allCases.filter { phase in events.contains { $0.phase == phase } }
        let charts = phases.flatMap { phase -> [Markup] in
            let bars = events.filter { $0.phase == phase }.map(bar)
            return [
                .element("h3", [:], "Training \(phase.title)"),
                BarChart(label: "peak memory of each rank \(phase.title)", bars).markup,
            ]
        }
        let remark = Markup.remark(
            "Each colour is the peak of its category. They need not fall into one moment, so the peak of all "
                + "counted memory (the mark) can be less than their sum. Resident is what the system saw of the whole "
                + "process, with code, libraries and mapped files.")
        let legend = Markup.legend(categories.map { ("memory-\($0)", $0) } + marks)
        return .section("memory", "Memory", [legend] + charts + [table(events, categories), remark])
    }

    /// All categories, in the order in which they first come.
    private func names(_ events: [MetricsHistory.Memory]) -> [String] {
        var names: [String] = []
        for name in events.flatMap({ $0.categories.map(\.name) }) where !names.contains(name) {
            names.append(name)
        }
        return names
    }

    private var marks: [(cssClass: String, name: String)] {
        let events = run.history.memory
        return [("mark", "peak of all")]
            + (events.contains { predicted($0) != nil } ? [("mark-predicted", "predicted")] : [])
            + (events.contains { run.memoryBudget(rank: $0.rank) != nil } ? [("mark-budget", "budget")] : [])
    }

    /// The plan's expectation, which is one of training with the backbone.
    private func predicted(_ event: MetricsHistory.Memory) -> Int? {
        event.phase == .pipeline ? run.predictedMemory(rank: event.rank) : nil
    }

    private func bar(_ event: MetricsHistory.Memory) -> BarChart.Row {
        func mark(_ cssClass: String, _ name: String, _ bytes: Int?) -> [BarChart.Part] {
            bytes.map { [BarChart.Part(cssClass, Double($0), title: "\(name): \(Format.bytes($0))")] } ?? []
        }
        return BarChart.Row(
            "rank \(event.rank)",
            event.categories.map {
                BarChart.Part(
                    "memory-\($0.name)", Double($0.bytes), title: "\($0.name): \(Format.bytes($0.bytes))")
            },
            marks: mark("mark", "peak of all", event.totalBytes)
                + mark("mark-predicted", "predicted", predicted(event))
                + mark("mark-budget", "budget", run.memoryBudget(rank: event.rank)),
            note: Format.bytes(event.totalBytes)
                + (run.memoryBudget(rank: event.rank).map { " of \(Format.bytes($0))" } ?? ""))
    }

    private func table(_ events: [MetricsHistory.Memory], _ categories: [String]) -> Markup {
        .table(
            id: "memory-peaks",
            [("rank", .right), ("phase", .left)] + categories.map { ($0, .right) }
                + [
                    ("peak of all", .right), ("predicted", .right), ("budget", .right), ("resident", .right),
                ],
            events.map { event in
                ["\(event.rank)", event.phase.title]
                    + categories.map { name in
                        event.categories.first { $0.name == name }.map { Format.bytes($0.bytes) } ?? "–"
                    } + [
                        Format.bytes(event.totalBytes), predicted(event).map(Format.bytes) ?? "–",
                        run.memoryBudget(rank: event.rank).map(Format.bytes) ?? "none",
                        Format.bytes(event.residentBytes),
                    ]
            })
    }
}
