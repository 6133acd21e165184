/// Rows of horizontal bars, each of coloured parts, with marks for other values on the same scale.
public struct BarChart {
    public struct Part: Sendable {
        public var cssClass: String
        public var value: Double
        /// What it says when it is pointed at.
        public var title: String

        public init(_ cssClass: String, _ value: Double, title: String) {
            self.cssClass = cssClass
            self.value = value
            self.title = title
        }
    }

    public struct Row: Sendable {
        public var name: String
        public var parts: [Part]
        /// Lines across the row.
        public var marks: [Part]
        /// What stands behind the bar.
        public var note: String

        public init(_ name: String, _ parts: [Part], marks: [Part] = [], note: String) {
            self.name = name
            self.parts = parts
            self.marks = marks
            self.note = note
        }
    }

    public var label: String
    public var rows: [Row]

    public init(label: String, _ rows: [Row]) {
        self.label = label
        self.rows = rows
    }

    private static let width = 960.0
    private static let left = 132.0
    private static let right = 150.0
    private static let rowHeight = 24.0
    private static let barHeight = 14.0

    /// The drawing.
    public var markup: Markup {
        let longest =
            rows.flatMap { row in
                [row.parts.reduce(0) { $0 + $1.value }] + row.marks.map(\.value)
            }.max() ?? 0
        let scale = longest > 0 ? (Self.width - Self.left - Self.right) / longest : 0
        var parts: [Markup] = []
        for (index, row) in rows.enumerated() {
            let top = Double(index) * Self.rowHeight + (Self.rowHeight - Self.barHeight) / 2
            parts.append(.label(Self.left - 8, top + 11, "name end", row.name))
            var x = Self.left
            for part in row.parts where part.value > 0 {
                parts.append(
                    .box(x, top, part.value * scale, Self.barHeight, part.cssClass, title: part.title))
                x += part.value * scale
            }
            for mark in row.marks {
                let place = Self.left + mark.value * scale
                parts.append(
                    .box(place - 1, top - 3, 2, Self.barHeight + 6, mark.cssClass, title: mark.title))
            }
            let end = max(x, Self.left + (row.marks.map(\.value).max() ?? 0) * scale)
            parts.append(.label(end + 6, top + 11, "tick", row.note))
        }
        return .drawing(
            width: Self.width, height: Double(rows.count) * Self.rowHeight + 2, label: label, parts)
    }
}
