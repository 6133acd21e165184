import Plans
import Reporting
import Support

extension ClusterReport {
    /// A row a rank, the links, what is wrong with its remedies, and the verdict.
    package var text: String {
        let findings = findings.map { finding in
            "\(finding.severity.rawValue): \(finding.text).\n    → \(finding.remedy)."
        }
        let parts = [
            details.isEmpty ? identityTable : rankTable,
            (software + experimentLines).joined(separator: "\n"), links.isEmpty ? "" : linkTable,
            findings.joined(separator: "\n"), "verdict: \(verdict.rawValue)",
        ]
        return parts.filter { !$0.isEmpty }.joined(separator: "\n\n")
    }

    private var identityTable: String {
        var table = Table([
            ("rank", .right), ("host", .left), ("program", .left), ("MPI", .left), ("arguments", .left),
        ])
        for (rank, identity) in identities.enumerated() {
            table.add([
                "\(rank)", identity.host, identity.build.text, identity.mpiVersion,
                identity.arguments.joined(separator: " "),
            ])
        }
        return table.text
    }

    private var rankTable: String {
        var table = Table([
            ("rank", .right), ("host", .left), ("network", .left), ("cores", .right), ("memory", .right),
            ("BLAS", .left), ("disk", .right), ("file system", .left), ("clock", .right),
        ])
        for (rank, details) in details.enumerated() {
            let interfaces = unique(
                details.routes.map { $0.interface.map { "\($0.name) \($0.address)" } ?? "none" })
            table.add([
                "\(rank)", identities[rank].host,
                interfaces.isEmpty ? "-" : interfaces.joined(separator: ", "),
                "\(details.description.coreCount)", Format.bytes(details.description.availableMemoryBytes),
                details.description.blasCore, Format.bytes(details.disk.freeBytes), details.disk.name,
                (details.clockSeconds > 0 ? "+" : "") + Format.duration(details.clockSeconds),
            ])
        }
        return table.text
    }

    /// What the ranks run, a line where all run the same.
    private var software: [String] {
        guard !details.isEmpty else { return [] }
        return grouped(
            identities.indices.map { rank in
                "pac-mpi \(identities[rank].build.text), \(identities[rank].mpiVersion), OpenBLAS "
                    + "\(details[rank].blasVersion), HDF5 \(details[rank].hdf5Version)"
            })
    }

    /// Copies of model and data, and what the cache takes.
    private var experimentLines: [String] {
        guard let needs, !details.isEmpty else { return [] }
        let models = details.map { details in
            if case .fingerprint(let text) = details.model { "model \(text)" } else { "no usable model" }
        }
        let data = needs.dataPaths.indices.flatMap { index in
            grouped(
                details.map { details in
                    "\(needs.dataPaths[index]) \(details.dataChecksums[index] ?? "is not there")"
                })
        }
        let cache = needs.cacheBytes.map {
            ["cache: \(Format.bytes($0)) in all, \(Format.bytes($0 / details.count)) a rank"]
        }
        return grouped(models) + data + (cache ?? [])
    }

    /// One line for all ranks that say the same.
    private func grouped(_ lines: [String]) -> [String] {
        unique(lines).map { line in
            let ranks = lines.indices.filter { lines[$0] == line }
            return (ranks.count == lines.count ? "all ranks" : rankNames(ranks)) + ": " + line
        }
    }

    private var linkTable: String {
        let count = identities.count
        var table = Table([("", .right)] + (0..<count).map { ("\($0)", .right) })
        for row in 0..<count {
            let cells = (0..<count).map { column -> String in
                let pair = (min(row, column), max(row, column))
                guard let link = links.first(where: { $0.ranks == pair }) else { return "·" }
                return row < column
                    ? Format.fixed(link.bandwidth / 1e6, link.bandwidth < 100e6 ? 1 : 0)
                    : Format.fixed(link.latencySeconds * 1e3, link.latencySeconds < 1e-2 ? 3 : 1)
            }
            table.add(["\(row)"] + cells)
        }
        return "links: MB/s above the diagonal, ms until a message arrives below\n" + table.text
    }
}

extension ClusterReport {
    /// The same as `text`, as one object.
    package var json: JSONValue {
        .dictionary([
            ("verdict", .string(verdict.rawValue)),
            (
                "ranks",
                .array(
                    identities.enumerated().map { rank, identity in
                        .object(
                            [JSONMember(key: "rank", value: JSONValue(rank), line: 0)]
                                + identity.json.members!
                                + (details.isEmpty ? [] : details[rank].json.members!))
                    })
            ),
            ("links", .array(links.map(\.json))),
            ("cache_bytes", needs?.cacheBytes.map { JSONValue($0) } ?? .null),
            ("problems", list(.problem)), ("warnings", list(.warning)),
        ])
    }

    private func list(_ severity: Finding.Severity) -> JSONValue {
        .array(
            findings.filter { $0.severity == severity }.map {
                .dictionary([("text", .string($0.text)), ("remedy", .string($0.remedy))])
            })
    }
}
