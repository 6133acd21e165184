import Configuration
import Reporting
import Support

/// Simulates every cell of a table.
package struct TableSimulation {
    private let table: SimulationTable

    package init(_ table: SimulationTable) { self.table = table }

    /// Runs all cells, in the order of rows and columns.
    ///
    /// - Throws: a configuration failure for a file that is missing or wrong, naming it, or for a cell that
    ///   asks for something that its run has not.
    package func run() throws -> TableComparison {
        let base = try JSONValue(contentsOf: table.experimentPath)
        var clusters: [String: SimulatedCluster] = [:]
        var rows: [TableComparison.Row] = []
        for row in table.rows {
            var cells: [TableComparison.Cell] = []
            for (column, published) in zip(table.columns, row.paper) {
                let settings = row.settings.over(column.settings).over(table.settings)
                let path = settings.cluster!
                let cluster =
                    try clusters[path] ?? SimulatedCluster(JSONReader(contentsOf: path))
                clusters[path] = cluster
                cells.append(try cell(base, settings, cluster, published))
            }
            if let name = row.reductionAgainst {
                let reference = rows.last { $0.group == row.group && $0.name == name }!
                for index in cells.indices {
                    cells[index].makeReduction(against: reference.cells[index])
                }
            }
            rows.append(TableComparison.Row(group: row.group, name: row.name, cells: cells))
        }
        return TableComparison(title: table.title, columns: table.columns.map(\.name), rows: rows)
    }

    private func cell(
        _ base: JSONValue, _ settings: SimulationTable.Settings, _ cluster: SimulatedCluster,
        _ published: SimulationTable.Published
    ) throws -> TableComparison.Cell {
        var document = base
        for override in settings.overrides { try document.apply(override: override) }
        let experiment = try Experiment(JSONReader(document, file: table.experimentPath))
        var reading = table.reading
        reading.sampleCount = settings.samples
        let simulation = try ExperimentSimulation(
            experiment, cluster: try settings.devices.map { try cluster.prefix($0) } ?? cluster,
            reading: reading)
        let quantity = settings.quantity!
        var cell = TableComparison.Cell(quantity: quantity, published: published)
        switch try simulation.run() {
        case .outOfMemory(let reason):
            cell.reason = reason
        case .completed(let run):
            cell.value = try quantity.value(run)
            cell.grouping = run.grouping
            cell.plan = run.plan.description + (run.rounds > 1 ? ", \(run.rounds) rounds" : "")
            if case .grouping(let sizes) = published {
                cell.publishedGroupingSlowdown = try simulation.run(grouping: sizes).map {
                    $0.stepSeconds / run.stepSeconds - 1
                }
            }
        }
        return cell
    }
}
