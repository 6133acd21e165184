/// Values over steps or epochs, as a drawing: one line a series, with a spread around it where many values share a point.
public struct LineChart {
    public struct Point: Sendable {
        public var x: Double
        public var y: Double
        /// The least and the largest of the values that the point stands for.
        public var spread: ClosedRange<Double>

        public init(x: Double, y: Double, spread: ClosedRange<Double>? = nil) {
            self.x = x
            self.y = y
            self.spread = spread ?? y...y
        }
    }

    public struct Series: Sendable {
        public var name: String
        public var cssClass: String
        public var points: [Point]
        /// Whether each point is marked, for few of them.
        public var isMarked: Bool

        public init(_ name: String, cssClass: String, _ points: [Point], isMarked: Bool = false) {
            self.name = name
            self.cssClass = cssClass
            self.points = points
            self.isMarked = isMarked
        }
    }

    public var label: String
    public var xTitle: String
    public var series: [Series]
    public var height = 240.0
    public var startsAtZero = false
    /// What a point says when it is pointed at.
    public var title: (Series, Point) -> String

    public init(
        label: String, xTitle: String, _ series: [Series], height: Double = 240, startsAtZero: Bool = false,
        title: @escaping (Series, Point) -> String
    ) {
        self.label = label
        self.xTitle = xTitle
        self.series = series
        self.height = height
        self.startsAtZero = startsAtZero
        self.title = title
    }

    /// At most `count` points for many: the mean of neighbours, and their spread.
    public static func condensed(_ values: [(x: Double, y: Double)], to count: Int) -> [Point] {
        let size = (values.count + count - 1) / max(1, count)
        return stride(from: 0, to: values.count, by: max(1, size)).map { start in
            let part = values[start..<min(start + size, values.count)]
            let ys = part.map(\.y)
            return Point(
                x: part[part.startIndex + (part.count - 1) / 2].x, y: ys.reduce(0, +) / Double(ys.count),
                spread: ys.min()!...ys.max()!)
        }
    }

    private static let width = 960.0
    private static let left = 56.0
    private static let right = 12.0
    private static let top = 10.0
    private static let bottom = 36.0

    /// The drawing.
    public var markup: Markup {
        let points = series.flatMap(\.points)
        let xAxis = Axis(points.map(\.x), count: 8, isWhole: true)
        let yAxis = Axis(
            points.flatMap { [$0.spread.lowerBound, $0.spread.upperBound] }, count: 5, fromZero: startsAtZero)
        let (plotWidth, plotHeight) = (
            Self.width - Self.left - Self.right, height - Self.top - Self.bottom
        )
        func x(_ value: Double) -> Double { Self.left + xAxis.share(value) * plotWidth }
        func y(_ value: Double) -> Double { Self.top + (1 - yAxis.share(value)) * plotHeight }

        var parts: [Markup] = []
        for tick in yAxis.ticks {
            parts.append(.line(Self.left, y(tick), Self.width - Self.right, y(tick), "grid"))
            parts.append(.label(Self.left - 8, y(tick) + 4, "tick end", yAxis.text(tick)))
        }
        let floor = Self.top + plotHeight
        for tick in xAxis.ticks {
            parts.append(.label(x(tick), floor + 16, "tick middle", xAxis.text(tick)))
        }
        parts.append(
            .label(Self.left + plotWidth / 2, height - 3, "tick middle", xTitle))
        for one in series {
            if one.points.contains(where: { $0.spread.lowerBound < $0.spread.upperBound }) {
                let above = one.points.map {
                    "\(Markup.point(x($0.x))),\(Markup.point(y($0.spread.upperBound)))"
                }
                let below = one.points.reversed().map {
                    "\(Markup.point(x($0.x))),\(Markup.point(y($0.spread.lowerBound)))"
                }
                parts.append(
                    .element(
                        "polygon",
                        ["points": (above + below).joined(separator: " "), "class": "spread \(one.cssClass)"])
                )
            }
            let path = one.points.map { "\(Markup.point(x($0.x))),\(Markup.point(y($0.y)))" }
            parts.append(
                .element(
                    "polyline", ["points": path.joined(separator: " "), "class": "curve \(one.cssClass)"]))
            guard one.isMarked || one.points.count == 1 else { continue }
            parts += one.points.map {
                .element(
                    "circle",
                    [
                        "cx": Markup.point(x($0.x)), "cy": Markup.point(y($0.y)), "r": "3.5",
                        "class": one.cssClass,
                    ])
            }
        }
        return .drawing(
            width: Self.width, height: height, label: label,
            parts + hitColumns(x, floor: floor, plotWidth: plotWidth))
    }

    /// Columns to point at: each tells the values of its place.
    private func hitColumns(_ x: (Double) -> Double, floor: Double, plotWidth: Double) -> [Markup] {
        var titles: [Double: [String]] = [:]
        for one in series {
            for point in one.points { titles[point.x, default: []].append(title(one, point)) }
        }
        let places = titles.keys.sorted()
        return places.enumerated().map { index, place in
            let before = index > 0 ? (x(places[index - 1]) + x(place)) / 2 : Self.left
            let after =
                index + 1 < places.count ? (x(place) + x(places[index + 1])) / 2 : Self.left + plotWidth
            return .box(
                before, Self.top, after - before, floor - Self.top, "hit",
                title: titles[place]!.joined(separator: "\n"))
        }
    }
}
