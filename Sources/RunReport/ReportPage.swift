import Reporting
import Support

/// A run as one page for a person: what was learned, how long it took, where the time went and what it needed.
package struct ReportPage {
    /// The page: HTML that needs nothing but itself.
    package let html: String
    private let path: String

    /// Reads a run directory and lays the page out.
    ///
    /// - Throws: a configuration failure that names the file and line that is missing, damaged or of another run.
    package init(_ directory: String) throws {
        guard fileExists(directory) else {
            throw Failure.configuration("\(directory): no such directory")
        }
        let run = try RunRecord(directory)
        let sections = [
            HeadingSection(run: run).markup, LossSection(run: run).markup, EvaluationSection(run: run).markup,
            TimeSection(run: run).markup, TimelineSection(run: run).markup,
            PredictionSection(run: run).markup,
            MemorySection(run: run).markup, SettingsSection(run: run).markup,
        ]
        html = Markup.page(
            title: "\(run.experiment.name) · pac-mpi", style: ReportStyle.sheet,
            [.element("main", [:], sections.compactMap { $0 })])
        path = RunFile.report.path(in: directory)
    }

    /// Writes the page as `report.html` into the run directory, atomically.
    ///
    /// - Returns: its path.
    package func write() throws -> String {
        try writeFileAtomically(html, to: path)
        return path
    }
}

extension Markup {
    /// A part of the page under a heading.
    static func section(_ id: String, _ title: String, _ children: [Markup]) -> Markup {
        element("section", ["id": id], [element("h2", [:], title)] + children)
    }

    /// A sentence or two.
    static func paragraph(_ text: String) -> Markup { element("p", [:], text) }

    /// A remark below a drawing or a table.
    static func remark(_ text: String) -> Markup { element("p", ["class": "remark"], text) }
}
