/// A table for the terminal: columns as wide as their widest cell, two spaces between them, a rule under the headers.
public struct Table: Sendable {
    public enum Alignment: Sendable {
        case left, right
    }

    private let headers: [String]
    private let alignments: [Alignment]
    private var rows: [[String]] = []

    /// - Parameter columns: the header and the alignment of each column.
    public init(_ columns: [(header: String, alignment: Alignment)]) {
        headers = columns.map(\.header)
        alignments = columns.map(\.alignment)
    }

    /// Adds a row of as many cells as there are columns.
    public mutating func add(_ cells: [String]) {
        precondition(
            cells.count == headers.count, "a row has one cell for each of the \(headers.count) columns")
        rows.append(cells)
    }

    /// The lines of the table, without spaces at their ends and without a final line break.
    public var text: String {
        let widths = headers.indices.map { column in
            ([headers] + rows).map { $0[column].count }.max() ?? 0
        }
        let rule = widths.map { String(repeating: "─", count: $0) }
        return ([headers, rule] + rows).map { line($0, widths) }.joined(separator: "\n")
    }

    private func line(_ cells: [String], _ widths: [Int]) -> String {
        let padded = cells.indices.map { column in
            let space = String(repeating: " ", count: widths[column] - cells[column].count)
            return alignments[column] == .left ? cells[column] + space : space + cells[column]
        }
        let line = padded.joined(separator: "  ")
        return String(line.prefix(line.count - line.reversed().prefix { $0 == " " }.count))
    }
}
