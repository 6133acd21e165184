import Foundation
import FoundationXML
import Reporting
import Testing

@Suite struct MarkupTests {
    @Test("text and attributes are escaped") func textAndAttributesAreEscaped() {
        let markup = Markup.element("a", ["title": "\"1 < 2\" & 'x'", "id": nil], "</a><script>&amp;\u{1}")
        #expect(
            markup.text
                == "<a title=\"&quot;1 &lt; 2&quot; &amp; &#39;x&#39;\">&lt;/a&gt;&lt;script&gt;&amp;amp;\u{FFFD}</a>"
        )
    }

    @Test("a page is well-formed and needs nothing else") func aPageIsWellFormedAndNeedsNothingElse() throws {
        let chart = LineChart(
            label: "a & b", xTitle: "step",
            [LineChart.Series("<loss>", cssClass: "x", [.init(x: 1, y: 0.5), .init(x: 2, y: 0.25)])],
            title: { "\($0.name) \($1.y)" })
        let page = Markup.page(
            title: "<b>", style: "p { color: red; }",
            [
                chart.markup, .table(id: "t", [("a", .left), ("b", .right)], [["1 < 2", "3"]]),
                .element("br"),
            ])
        let document = try XMLDocument(xmlString: page)
        #expect(try document.nodes(forXPath: "//*[local-name()='td']").map(\.stringValue) == ["1 < 2", "3"])
        #expect(try document.nodes(forXPath: "/html/head/title").first?.stringValue == "<b>")
        let titles = try document.nodes(forXPath: "//*[local-name()='rect']/*[local-name()='title']").map(
            \.stringValue)
        #expect(titles == ["<loss> 0.5", "<loss> 0.25"])
    }

    @Test("many values become means of neighbours with their spread") func manyValuesBecomeMeans() {
        let values = (0..<10).map { (x: Double($0), y: Double($0 % 2)) }
        let points = LineChart.condensed(values, to: 3)
        #expect(points.map(\.x) == [1, 5, 8])
        #expect(points.map(\.y) == [0.5, 0.5, 0.5])
        #expect(points.map(\.spread) == [0...1, 0...1, 0...1])
        #expect(LineChart.condensed(values, to: 10).map(\.y) == values.map(\.y))
        #expect(LineChart.condensed([], to: 10).isEmpty)
    }

    /// A constant, a single value, tiny and large ones: ticks are round, ascend and enclose the values.
    @Test(
        "ticks are round numbers around the values",
        arguments: [[0.0], [5, 5], [0.0000123, 0.0003], [-0.3, 0.7], [1e6, 3e6]])
    func ticksAreRoundNumbersAroundTheValues(values: [Double]) throws {
        let points = values.enumerated().map { LineChart.Point(x: Double($0 + 1), y: $1) }
        let chart = LineChart(
            label: "", xTitle: "epoch", [.init("s", cssClass: "s", points)], title: { _, _ in "" })
        let document = try XMLDocument(xmlString: chart.markup.text)
        let ticks = try document.nodes(forXPath: "//*[local-name()='text'][@class='tick end']")
            .compactMap { Double($0.stringValue ?? "") }
        #expect((3...12).contains(ticks.count), "\(ticks)")
        #expect(Set(ticks).count == ticks.count && ticks == ticks.sorted())
        #expect(ticks.first! <= values.min()! && ticks.last! >= values.max()!, "\(ticks)")
    }
}
