import Support

/// A table of simulated experiments beside published values: one experiment, changed by each row and each
/// column.
///
/// ```json
/// {"title": "...", "experiment": "base.json", "cluster": "cluster.json", "quantity": "hours", "reading":
/// {"target_tokens": 10, "parts_per_sample": 1, "all_reduce_bucket": false,
///              "head_table_copy": true},
///  "columns": [{"name": "MRPC", "set": ["training.epochs=3"]}], "rows": [{"group": "T5-Base", "name": "Full,
///  Eco-FL", "set": ["technique.kind=full"], "paper": [0.45]}]}
/// ```
/// A published value is a number, "OOM", a grouping such as "[2-1-1]", a range [from, to], or null where none
/// is printed. `reduction_against` names a row of the same group: the cell is then by how many per cent its
/// value is smaller. Rows and columns may have a `quantity`, `cluster`, `devices` (the first so many of the
/// cluster) and `samples` of their own; a row's wins over a column's.
package struct SimulationTable {
    /// What a table, a row or a column says about its cells.
    package struct Settings {
        package var overrides: [String] = []
        var quantity: SimulationQuantity?
        package var cluster: String?
        package var devices: Int?
        package var samples: Int?
    }

    package struct Column {
        package let name: String
        package let settings: Settings
    }

    /// A value as it was published.
    package enum Published: Equatable {
        case number(Double)
        case outOfMemory
        case grouping([Int])
        case range(Double, Double)
        case none
    }

    package struct Row {
        package let group: String
        package let name: String
        package let settings: Settings
        let reductionAgainst: String?
        package let paper: [Published]
    }

    package let title: String
    package let experimentPath: String
    package let settings: Settings
    package let reading: ExperimentSimulation.Reading
    package let columns: [Column]
    package let rows: [Row]

    /// Whether a JSON document is a table rather than an experiment.
    package static func describes(_ document: JSONValue) -> Bool { document["rows"] != nil }

    /// Reads a table file, strictly.
    ///
    /// - Throws: a configuration failure that names file, line, key path, what was expected and what was
    ///   found.
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "title", "experiment", "cluster", "quantity", "set", "reading", "columns", "rows",
        ])
        title = try object.required("title").string()
        experimentPath = try object.required("experiment").string()
        _ = try object.required("cluster")
        _ = try object.required("quantity")
        settings = try Settings(object)
        reading = try object.optional("reading").map { try ExperimentSimulation.Reading($0) } ?? .init()
        columns = try object.required("columns").array().map { column in
            let object = try column.object(keys: ["name"] + Settings.keys)
            return Column(name: try object.required("name").string(), settings: try Settings(object))
        }
        let count = columns.count
        var rows: [Row] = []
        for entry in try object.required("rows").array() {
            let object = try entry.object(
                keys: ["group", "name", "reduction_against", "paper"] + Settings.keys)
            let group = try object.optional("group")?.string() ?? ""
            let base = object.optional("reduction_against")
            if let base {
                let known = rows.filter { $0.group == group }.map(\.name)
                guard known.contains(try base.string()) else {
                    throw base.failure(expected: "the name of a row of the same group, above this one")
                }
            }
            let paper = try object.required("paper")
            let values = try paper.array()
            guard values.count == count else {
                throw paper.failure(expected: "a value or null for each of the \(count) columns")
            }
            rows.append(
                Row(
                    group: group, name: try object.required("name").string(), settings: try Settings(object),
                    reductionAgainst: try base?.string(), paper: try values.map { try Published($0) }))
        }
        self.rows = rows
        guard !rows.isEmpty, !columns.isEmpty else {
            throw reader.failure(expected: "at least one row and one column")
        }
    }
}

extension SimulationTable.Settings {
    package static let keys = ["set", "quantity", "cluster", "devices", "samples"]

    init(_ object: JSONObjectReader) throws {
        overrides = try object.optional("set")?.array().map { try $0.string() } ?? []
        quantity = try object.optional("quantity").map {
            SimulationQuantity(rawValue: try $0.choice(SimulationQuantity.allCases.map(\.rawValue)))!
        }
        cluster = try object.optional("cluster")?.string()
        devices = try object.optional("devices")?.integer(in: 1...4096)
        samples = try object.optional("samples")?.integer(in: 1...Int.max)
    }

    /// These settings where they say something, on top of others; overrides add up.
    package func over(_ other: Self) -> Self {
        Self(
            overrides: other.overrides + overrides, quantity: quantity ?? other.quantity,
            cluster: cluster ?? other.cluster, devices: devices ?? other.devices,
            samples: samples ?? other.samples)
    }
}

extension SimulationTable.Published {
    init(_ reader: JSONReader) throws {
        switch reader.value {
        case .null: self = .none
        case .number, .integer: self = .number(try reader.number())
        case .array:
            let bounds = try reader.array().map { try $0.number() }
            guard bounds.count == 2, bounds[0] <= bounds[1] else {
                throw reader.failure(expected: "[from, to] with from <= to")
            }
            self = .range(bounds[0], bounds[1])
        case .string("OOM"): self = .outOfMemory
        default:
            let text = reader.value.string ?? ""
            let sizes = text.dropFirst().dropLast().split(separator: "-").map { Int($0) ?? 0 }
            guard text.hasPrefix("["), text.hasSuffix("]"), !sizes.isEmpty, sizes.allSatisfy({ $0 > 0 })
            else {
                throw reader.failure(
                    expected: "a number, \"OOM\", a grouping like \"[2-1-1]\", [from, to], or null")
            }
            self = .grouping(sizes)
        }
    }
}

extension ExperimentSimulation.Reading {
    init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "target_tokens", "parts_per_sample", "all_reduce_bucket", "head_table_copy",
        ])
        self.init(
            targetTokens: try object.optional("target_tokens")?.integer(in: 1...1 << 20)
                ?? AnalyticConstants.targetTokens,
            partsPerSample: try object.optional("parts_per_sample")?.integer(in: 1...5040) ?? 1,
            hasBucket: try object.optional("all_reduce_bucket")?.bool() ?? false,
            copiesTable: try object.optional("head_table_copy")?.bool() ?? true)
    }
}
