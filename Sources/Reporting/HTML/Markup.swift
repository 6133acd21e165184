/// A piece of HTML or SVG: elements with their attributes, and text. All text is escaped when it comes in.
///
/// What it makes is well-formed XML as well, so that a page can be checked by any parser.
public struct Markup: Sendable {
    /// The markup, escaped.
    public let text: String

    private init(raw: String) { text = raw }

    /// Text, escaped. Control characters, which no markup can hold, become U+FFFD.
    public init(_ text: String) { self.init(raw: Self.escaped(text)) }

    /// Pieces one after the other.
    public init(_ pieces: [Markup]) { self.init(raw: pieces.map(\.text).joined()) }

    /// An element with other pieces in it.
    ///
    /// - Parameter attributes: names are ours; values are escaped, and left out where they are nil.
    public static func element(
        _ name: String, _ attributes: KeyValuePairs<String, String?> = [:], _ children: [Markup] = []
    ) -> Markup {
        var tag = "<" + name
        for (key, value) in attributes {
            if let value { tag += " \(key)=\"\(escaped(value))\"" }
        }
        if voidElements.contains(name) { return Markup(raw: tag + "/>") }
        return Markup(raw: tag + ">" + children.map(\.text).joined() + "</\(name)>")
    }

    /// An element with text in it.
    public static func element(
        _ name: String, _ attributes: KeyValuePairs<String, String?> = [:], _ text: String
    ) -> Markup {
        element(name, attributes, [Markup(text)])
    }

    /// A whole page that needs nothing but itself.
    ///
    /// - Parameter style: a sheet of our own, not escaped: it must not hold "<" or "&".
    public static func page(title: String, style: String, _ body: [Markup]) -> String {
        precondition(!style.contains { $0 == "<" || $0 == "&" }, "a style sheet that is no plain text")
        let head = element(
            "head", [:],
            [
                element("meta", ["charset": "utf-8"]),
                element("meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"]),
                element("meta", ["name": "color-scheme", "content": "light dark"]),
                element("title", [:], title), Markup(raw: "<style>\n\(style)</style>"),
            ])
        let html = element("html", ["lang": "en"], [head, element("body", [:], body)])
        return "<!DOCTYPE html>\n" + html.text + "\n"
    }

    private static let voidElements: Set<String> = ["meta", "br", "hr"]

    private static func escaped(_ text: String) -> String {
        var out = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            case "'": out += "&#39;"
            case "\t", "\n": out.unicodeScalars.append(scalar)
            case "\u{0}"..."\u{1F}", "\u{7F}"..."\u{9F}", "\u{FFFE}", "\u{FFFF}": out += "\u{FFFD}"
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out
    }
}

extension Markup {
    /// A table with a header row; cells aligned by column.
    public static func table(
        id: String, _ columns: [(header: String, alignment: Table.Alignment)], _ rows: [[String]]
    ) -> Markup {
        func row(_ cells: [String], _ name: String) -> Markup {
            precondition(cells.count == columns.count, "a row has one cell for each column")
            return element(
                "tr", [:],
                zip(cells, columns).map { cell, column in
                    element(
                        name,
                        [
                            "class": column.alignment == .right ? "number" : nil,
                            "scope": name == "th" ? "col" : nil,
                        ], cell)
                })
        }
        let head = element("thead", [:], [row(columns.map(\.header), "th")])
        let body = element("tbody", [:], rows.map { row($0, "td") })
        // A wide table scrolls by itself, not the page.
        return element("div", ["class": "scroll"], [element("table", ["id": id], [head, body])])
    }

    /// A legend: a coloured square and a word for each style class.
    public static func legend(_ entries: [(cssClass: String, name: String)]) -> Markup {
        element(
            "ul", ["class": "legend"],
            entries.map { entry in
                element(
                    "li", [:], [element("span", ["class": "key \(entry.cssClass)"]), Markup(entry.name)])
            })
    }

    /// A drawing with its own coordinates, as wide as the page; `label` says what it shows to those who cannot see it.
    static func drawing(width: Double, height: Double, label: String, _ children: [Markup]) -> Markup {
        let svg = element(
            "svg",
            [
                "xmlns": "http://www.w3.org/2000/svg", "viewBox": "0 0 \(point(width)) \(point(height))",
                "role": "img", "aria-label": label,
            ], children)
        // On a narrow screen it scrolls by itself rather than becoming too small to read.
        return element("div", ["class": "scroll"], [svg])
    }

    static func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ cssClass: String) -> Markup {
        element(
            "line", ["x1": point(x1), "y1": point(y1), "x2": point(x2), "y2": point(y2), "class": cssClass])
    }

    static func label(_ x: Double, _ y: Double, _ cssClass: String, _ text: String) -> Markup {
        element("text", ["x": point(x), "y": point(y), "class": cssClass], text)
    }

    /// A rectangle that says what it is when it is pointed at.
    static func box(
        _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ cssClass: String, title: String? = nil
    ) -> Markup {
        element(
            "rect",
            [
                "x": point(x), "y": point(y), "width": point(max(0, width)), "height": point(height),
                "class": cssClass,
            ], title.map { [element("title", [:], $0)] } ?? [])
    }

    /// A coordinate: hundredths are enough.
    static func point(_ value: Double) -> String { Format.fixed(value, 2) }
}
