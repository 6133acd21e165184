import Reporting
import Support

/// A simulated table beside the published one.
package struct TableComparison {
    package struct Cell {
        let quantity: SimulationQuantity
        let published: SimulationTable.Published
        /// nil when it ran out of memory, and for groupings.
        package var value: Double?
        package var grouping: String?
        package var plan: String?
        /// Why nothing fits.
        package var reason: String?
        /// By what share the published grouping's step is longer than that of the one chosen; nil when it
        /// does not fit.
        var publishedGroupingSlowdown: Double?
        var isReduction = false

        init(quantity: SimulationQuantity, published: SimulationTable.Published) {
            self.quantity = quantity
            self.published = published
        }

        /// Turns a value into the per cent by which it is smaller than another cell's.
        mutating func makeReduction(against other: Cell) {
            isReduction = true
            value = value.flatMap { own in other.value.map { 100 * (1 - own / $0) } }
        }

        var isPercentage: Bool { isReduction || quantity.isPercentage }
        var isOutOfMemory: Bool { reason != nil }
    }

    package struct Row {
        package let group: String
        package let name: String
        package let cells: [Cell]
    }

    package let title: String
    package let columns: [String]
    package let rows: [Row]
    /// The counts over all cells.
    package let summary: Summary

    init(title: String, columns: [String], rows: [Row]) {
        self.title = title
        self.columns = columns
        self.rows = rows
        summary = Summary(rows)
    }

    /// How well a table is met. Each count stands beside the number of cells that it is of.
    package struct Summary: Sendable, Equatable {
        /// Cells that are, or are not, out of memory as published.
        package var memoryCount = 0
        package var memoryMatches = 0
        /// Largest relative deviations from numbers, in ascending order.
        package var deviations: [Double] = []
        /// Differences from percentages, in points, in ascending order; 0 inside a range.
        package var points: [Double] = []
        package var groupingCount = 0
        package var groupingMatches = 0
        /// By what share published groupings are slower than ours; infinity for one that does not fit.
        package var groupingSlowdowns: [Double] = []
        /// Pairs of rows of a group whose published numbers in a column differ by more than 2 %, and those in
        /// our order.
        package var pairCount = 0
        package var pairMatches = 0

        /// Cells whose deviation is at most a share.
        package func count(within share: Double) -> Int { deviations.count { $0 <= share } }
    }
}

extension TableComparison.Summary {
    /// Published numbers that differ by less than this share say nothing about an order.
    private static let tie = 0.02

    fileprivate init(_ rows: [TableComparison.Row]) {
        for cell in rows.flatMap(\.cells) { add(cell) }
        deviations.sort()
        points.sort()
        for (index, row) in rows.enumerated() {
            for other in rows[..<index] where other.group == row.group {
                for (a, b) in zip(other.cells, row.cells) { addPair(a, b) }
            }
        }
    }

    private mutating func add(_ cell: TableComparison.Cell) {
        guard cell.published != .none else { return }
        memoryCount += 1
        if cell.isOutOfMemory == (cell.published == .outOfMemory) { memoryMatches += 1 }
        switch cell.published {
        case .number(let number):
            guard let value = cell.value else { return }
            if cell.isPercentage {
                points.append(abs(value - number))
            } else {
                deviations.append(abs(value / number - 1))
            }
        case .range(let low, let high):
            guard let value = cell.value else { return }
            let outside = max(0, low - value, value - high)
            if cell.isPercentage {
                points.append(outside)
            } else {
                deviations.append(outside / (value < low ? low : high))
            }
        case .grouping(let sizes):
            groupingCount += 1
            if cell.grouping == SimulationTable.text(sizes) { groupingMatches += 1 }
            groupingSlowdowns.append(cell.publishedGroupingSlowdown ?? .infinity)
        case .outOfMemory, .none: break
        }
    }

    private mutating func addPair(_ a: TableComparison.Cell, _ b: TableComparison.Cell) {
        guard case .number(let first) = a.published, case .number(let second) = b.published,
            a.quantity == b.quantity, !a.isPercentage, !b.isPercentage, let ownFirst = a.value,
            let ownSecond = b.value,
            abs(first - second) / max(first, second) > Self.tie
        else { return }
        pairCount += 1
        if (first < second) == (ownFirst < ownSecond) { pairMatches += 1 }
    }

    /// One line for each kind of cell that the table has.
    package var lines: [String] {
        var lines: [String] = []
        if memoryCount > memoryMatches || deviations.count < memoryCount, points.count + groupingCount == 0 {
            lines.append("out of memory or not as published: \(memoryMatches) of \(memoryCount)")
        } else if memoryMatches < memoryCount {
            lines.append("run or out of memory as published: \(memoryMatches) of \(memoryCount)")
        }
        if !deviations.isEmpty {
            let counts = [0.02, 0.1, 0.2, 0.3, 0.4].map {
                "\(count(within: $0)) within \(Format.fixed($0 * 100, 0)) %"
            }
            lines.append(
                "numbers: \(deviations.count), of which " + counts.joined(separator: ", ")
                    + "; the largest deviation is \(Format.percent(deviations.last!))")
        }
        if !points.isEmpty {
            lines.append(
                "percentages: \(points.count), of which \(points.count { $0 <= 5 }) within 5 points and "
                    + "\(points.count { $0 <= 10 }) within 10; the largest difference is "
                    + "\(Format.fixed(points.last!, 1)) points")
        }
        if groupingCount > 0 {
            let worst = groupingSlowdowns.max()!
            lines.append(
                "groupings as published: \(groupingMatches) of \(groupingCount); a published grouping is at most "
                    + "\(Format.percent(worst)) slower than the one found")
        }
        if pairCount > 0 {
            lines.append(
                "rows of a column in the published order: \(pairMatches) of \(pairCount) pairs that differ by more than 2 %"
            )
        }
        return lines
    }

    package var json: JSONValue {
        var pairs: [(String, JSONValue)] = [
            ("cells", JSONValue(memoryCount)), ("out_of_memory_as_published", JSONValue(memoryMatches)),
        ]
        if !deviations.isEmpty {
            pairs.append(("numbers", JSONValue(deviations.count)))
            for percent in [2, 10, 20, 30, 40] {
                pairs.append(("within_\(percent)_percent", JSONValue(count(within: Double(percent) / 100))))
            }
            pairs.append(("largest_deviation", JSONValue(deviations.last!)))
        }
        if !points.isEmpty {
            pairs += [
                ("percentages", JSONValue(points.count)),
                ("within_10_points", JSONValue(points.count { $0 <= 10 })),
                ("largest_points", JSONValue(points.last!)),
            ]
        }
        if groupingCount > 0 {
            pairs += [
                ("groupings", JSONValue(groupingCount)),
                ("groupings_as_published", JSONValue(groupingMatches)),
                (
                    "largest_grouping_slowdown",
                    groupingSlowdowns.max()!.isFinite
                        ? JSONValue(groupingSlowdowns.max()!) : .null
                ),
            ]
        }
        if pairCount > 0 {
            pairs += [
                ("ordered_pairs", JSONValue(pairCount)), ("pairs_as_published", JSONValue(pairMatches)),
            ]
        }
        return .dictionary(pairs)
    }
}

extension SimulationTable {
    package static func text(_ grouping: [Int]) -> String {
        "[" + grouping.map(String.init).joined(separator: "-") + "]"
    }
}
