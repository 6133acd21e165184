/// What each rank did when, as a drawing: a band for each rank with a row for each of its lanes, time from left to right.
public struct TimelineChart {
    /// A band of rows.
    public struct Band: Sendable {
        public var name: String
        public var detail: String
        public var spans: [TraceSpan]

        public init(_ name: String, detail: String, _ spans: [TraceSpan]) {
            self.name = name
            self.detail = detail
            self.spans = spans
        }
    }

    public var label: String
    public var bands: [Band]

    public init(label: String, _ bands: [Band]) {
        self.label = label
        self.bands = bands
    }

    private static let width = 960.0
    private static let left = 132.0
    private static let right = 10.0
    private static let laneHeight = 17.0
    private static let barHeight = 15.0
    private static let bandGap = 10.0
    private static let axisHeight = 34.0
    /// About what a character of a bar's text takes.
    private static let characterWidth = 6.4

    /// The drawing; times are told from the first stretch's start.
    public var markup: Markup {
        let all = bands.flatMap(\.spans)
        let start = all.map(\.start).min() ?? 0
        let axis = Axis(all.map { ($0.end - start) * 1e3 }, count: 8, fromZero: true)
        let plotWidth = Self.width - Self.left - Self.right
        func x(_ milliseconds: Double) -> Double { Self.left + axis.share(milliseconds) * plotWidth }

        var boxes: [Markup] = []
        var top = 2.0
        for band in bands {
            // Lanes where nothing happened take no room.
            let lanes = TraceLane.allCases.filter { lane in
                lane == .compute || band.spans.contains { $0.lane == lane }
            }
            boxes.append(.label(0, top + 12, "name", band.name))
            boxes.append(.label(0, top + 26, "tick", band.detail))
            for (row, lane) in lanes.enumerated() {
                let y = top + Double(row) * Self.laneHeight
                boxes.append(.box(Self.left, y, plotWidth, Self.barHeight, "lane"))
                for span in band.spans.filter({ $0.lane == lane }).sorted(by: Self.outerFirst) {
                    boxes += draw(span, from: start, y: y, x)
                }
            }
            top += Double(max(2, lanes.count)) * Self.laneHeight + Self.bandGap
        }
        let ticks = axis.ticks.flatMap { tick -> [Markup] in
            [
                .line(x(tick), 0, x(tick), top, "grid"),
                .label(x(tick), top + 14, "tick middle", axis.text(tick)),
            ]
        }
        return .drawing(
            width: Self.width, height: top + Self.axisHeight, label: label,
            ticks + boxes + [.label(Self.left + plotWidth / 2, top + 30, "tick middle", "milliseconds")])
    }

    /// What lies within another stretch is drawn over it.
    private static func outerFirst(_ a: TraceSpan, _ b: TraceSpan) -> Bool {
        (a.start, b.seconds) < (b.start, a.seconds)
    }

    private func draw(_ span: TraceSpan, from start: Double, y: Double, _ x: (Double) -> Double) -> [Markup] {
        let (begin, end) = (x((span.start - start) * 1e3), x((span.end - start) * 1e3))
        var title = "\(span.name): \(Format.duration(span.seconds))"
        if let peer = span.arguments.peer { title += ", rank \(peer)" }
        if let bytes = span.arguments.bytes { title += ", \(Format.bytes(bytes))" }
        let box = Markup.box(
            begin, y, max(0.6, end - begin), Self.barHeight, span.category.rawValue, title: title)
        // A wait lies within the action that waits, which is named already.
        guard end - begin > Double(span.name.utf8.count) * Self.characterWidth + 4, span.category != .wait
        else { return [box] }
        return [
            box,
            .label(
                (begin + end) / 2, y + 11.5, "inside middle on-\(span.category.rawValue)", span.name),
        ]
    }
}
