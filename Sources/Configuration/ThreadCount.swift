import Support

/// `device.threads`: how many threads a rank computes on.
package enum ThreadCount: Sendable, Equatable {
    case fixed(Int)
    /// The cores that a rank may use, shared with the ranks that may use the same ones.
    case automatic

    /// - Parameters: `cores` that the rank may use, `ranks` that may use them, itself among them.
    package func resolved(cores: Int, ranks: Int) -> Int {
        switch self {
        case .fixed(let count): count
        case .automatic: max(1, cores / ranks)
        }
    }
}

extension ThreadCount {
    package init(_ reader: JSONReader) throws {
        if reader.value.string == "auto" {
            self = .automatic
        } else if reader.value.integer != nil {
            self = .fixed(try reader.integer(in: 1...4096))
        } else {
            throw reader.failure(expected: "a number of threads or \"auto\"")
        }
    }

    package var json: JSONValue {
        switch self {
        case .fixed(let count): JSONValue(count)
        case .automatic: .string("auto")
        }
    }
}
