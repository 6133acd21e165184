import Foundation

/// A page in Markdown: its tables, links and headings.
package struct MarkdownPage {
    /// A row of a table, without its head.
    package struct Row {
        package let heading: String
        package let cells: [String]

        /// The first code of the first cell.
        package var key: String { codes(in: 0).first ?? "" }

        /// What stands between backticks in a cell.
        package func codes(in cell: Int) -> [String] {
            let parts = cells[cell].split(separator: "`", omittingEmptySubsequences: false)
            return parts.indices.filter { $0 % 2 == 1 }.map { String(parts[$0]) }
        }
    }

    package private(set) var tables: [Row] = []
    package private(set) var links: [String] = []
    /// The blocks of JSON.
    package private(set) var examples: [String] = []
    /// As GitHub makes them of headings.
    package private(set) var anchors: Set<String> = []

    package init(_ path: String) throws {
        var heading = ""
        var (isCode, isJSON) = (false, false)
        // Rows of the table so far, head and rule included.
        var rowCount = 0
        for line in try String(contentsOfFile: path, encoding: .utf8).split(
            separator: "\n", omittingEmptySubsequences: false)
        {
            if line.hasPrefix("```") {
                isCode.toggle()
                isJSON = line == "```json"
                if isJSON { examples.append("") }
                continue
            }
            if isJSON { examples[examples.count - 1] += line + "\n" }
            rowCount = line.hasPrefix("| ") && !isCode ? rowCount + 1 : 0
            guard !isCode else { continue }
            if line.hasPrefix("#") {
                heading = line.drop { $0 == "#" }.trimmingCharacters(in: .whitespaces)
                anchors.insert(Self.anchor(heading))
            }
            if rowCount > 2 { tables.append(Row(heading: heading, cells: Self.cells(line))) }
            links += Self.links(line)
        }
    }

    /// The rows under a heading.
    package func table(under heading: String) -> [Row] { tables.filter { $0.heading == heading } }

    private static func cells(_ line: Substring) -> [String] {
        line.replacingOccurrences(of: "\\|", with: "\u{0}").split(
            separator: "|", omittingEmptySubsequences: false
        ).dropFirst().dropLast().map {
            $0.trimmingCharacters(in: .whitespaces).replacingOccurrences(of: "\u{0}", with: "|")
        }
    }

    private static func links(_ line: Substring) -> [String] {
        line.split(separator: "](", omittingEmptySubsequences: false).dropFirst().compactMap { rest in
            rest.contains(")") ? String(rest.prefix { $0 != ")" }) : nil
        }
    }

    private static func anchor(_ heading: String) -> String {
        String(
            heading.lowercased().filter { $0.isLetter || $0.isNumber || $0 == " " || $0 == "-" || $0 == "_" }
                .map { $0 == " " ? "-" : $0 })
    }
}
