import Support

/// Bytes of memory or disk that each rank may use: one number for all, or one for each host that has a limit.
package enum ByteBudget: Sendable, Equatable {
    case everywhere(Int)
    /// Host names as MPI tells them; other hosts have no limit.
    case byHost([(host: String, bytes: Int)])

    /// The budget of a rank on a host; nil for no limit.
    package func bytes(onHost host: String) -> Int? {
        switch self {
        case .everywhere(let bytes): bytes
        case .byHost(let hosts): hosts.first { $0.host.utf8.elementsEqual(host.utf8) }?.bytes
        }
    }

    /// Checks that every host named runs a rank: a name that matches nothing would be a limit that is not kept.
    ///
    /// - Parameter key: where the budget stands in the experiment.
    package func check(_ hosts: [String], key: String) throws {
        guard case .byHost(let named) = self else { return }
        for (host, _) in named where !hosts.contains(where: { $0.utf8.elementsEqual(host.utf8) }) {
            let known = Set(hosts).sorted().joined(separator: ", ")
            throw Failure.configuration(
                "\(key): expected hosts that run ranks (\(known)), found \"\(host)\"")
        }
    }

    package static func == (a: ByteBudget, b: ByteBudget) -> Bool { a.json == b.json }
}

extension ByteBudget {
    init(_ reader: JSONReader) throws {
        if reader.value.members != nil {
            self = .byHost(
                try reader.object().all.map { ($0.key, try $0.value.integer(in: 1...Int.max)) })
        } else if reader.value.integer != nil {
            self = .everywhere(try reader.integer(in: 1...Int.max))
        } else {
            throw reader.failure(expected: "bytes, or an object of host names and bytes")
        }
    }

    package var json: JSONValue {
        switch self {
        case .everywhere(let bytes): JSONValue(bytes)
        case .byHost(let hosts): .dictionary(hosts.map { ($0.host, JSONValue($0.bytes)) })
        }
    }
}
