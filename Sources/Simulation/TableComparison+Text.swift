import Reporting
import Support

extension TableComparison {
    /// The table in Markdown: in each cell what was simulated, what was published, and how far they are
    /// apart.
    package var markdown: String {
        let hasGroups = rows.contains { !$0.group.isEmpty }
        let headers = (hasGroups ? ["model"] : []) + [""] + columns
        var lines = ["# \(title)", "", "Simulated / published (difference).", ""]
        lines.append("| " + headers.joined(separator: " | ") + " |")
        lines.append("|" + String(repeating: " --- |", count: headers.count))
        for row in rows {
            let cells = (hasGroups ? [row.group] : []) + [row.name] + row.cells.map(\.text)
            lines.append("| " + cells.joined(separator: " | ") + " |")
        }
        lines += [""] + summary.lines.map { "- \($0)" }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The cells with their plans and reasons, and the counts.
    package var json: JSONValue {
        .dictionary([
            ("title", .string(title)), ("columns", .array(columns.map(JSONValue.string))),
            (
                "rows",
                .array(
                    rows.map { row in
                        .dictionary([
                            ("group", .string(row.group)), ("name", .string(row.name)),
                            ("cells", .array(row.cells.map(\.json))),
                        ])
                    })
            ), ("summary", summary.json),
        ])
    }
}

extension TableComparison.Cell {
    private var ownText: String {
        if isOutOfMemory { return "OOM" }
        guard let value else { return quantity == .grouping ? grouping ?? "—" : "—" }
        return number(value) + (isPercentage ? " %" : "")
    }

    /// Three digits, at most two of them behind the point for what is printed so.
    private func number(_ value: Double) -> String {
        Format.fixed(value, isPercentage ? 1 : value.magnitude < 0.1 ? 4 : value.magnitude < 1 ? 3 : 2)
    }

    fileprivate var text: String {
        switch published {
        case .none: return ownText
        case .outOfMemory: return ownText == "OOM" ? "OOM / OOM" : "**\(ownText) / OOM**"
        case .number(let number):
            guard let value else { return "**\(ownText) / \(number)**" }
            if isPercentage {
                let difference = value - number
                return
                    "\(ownText) / \(number) % (\(difference < 0 ? "" : "+")\(Format.fixed(difference, 1)) points)"
            }
            let difference = (value / number - 1) * 100
            return "\(ownText) / \(number) (\(difference < 0 ? "" : "+")\(Format.fixed(difference, 1)) %)"
        case .range(let low, let high):
            guard let value else { return "**\(ownText) / \(low) to \(high)**" }
            let place = value < low ? "below" : value > high ? "above" : "inside"
            return "\(ownText) / \(low) to \(high)\(isPercentage ? " %" : "") (\(place))"
        case .grouping(let sizes):
            let wanted = SimulationTable.text(sizes)
            guard wanted != grouping else { return "\(ownText) / \(wanted)" }
            let slower = publishedGroupingSlowdown.map { "\(Format.percent($0)) slower" } ?? "does not fit"
            return "**\(ownText)** / \(wanted) (\(slower))"
        }
    }

    fileprivate var json: JSONValue {
        var pairs: [(String, JSONValue)] = [("quantity", .string(quantity.rawValue))]
        if isReduction { pairs.append(("is_reduction_percent", true)) }
        pairs.append(
            (
                "simulated",
                isOutOfMemory ? "OOM" : value.map { JSONValue($0) } ?? grouping.map(JSONValue.string) ?? .null
            ))
        switch published {
        case .none: pairs.append(("published", .null))
        case .outOfMemory: pairs.append(("published", "OOM"))
        case .number(let number): pairs.append(("published", JSONValue(number)))
        case .range(let low, let high): pairs.append(("published", [JSONValue(low), JSONValue(high)]))
        case .grouping(let sizes): pairs.append(("published", .string(SimulationTable.text(sizes))))
        }
        if let slowdown = publishedGroupingSlowdown {
            pairs.append(("published_is_slower_by", JSONValue(slowdown)))
        }
        if let plan { pairs.append(("plan", .string(plan))) }
        if let reason { pairs.append(("reason", .string(reason))) }
        return .dictionary(pairs)
    }
}
