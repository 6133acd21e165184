import MPI
import Support
import TensorCore

/// `device.threads`: how many threads a rank computes on.
public enum ThreadCount: Sendable, Equatable {
    case fixed(Int)
    /// The cores that a rank may use, shared with the ranks that may use the same ones.
    case automatic

    /// - Parameters: `cores` that the rank may use, `ranks` that may use them, itself among them.
    func resolved(cores: Int, ranks: Int) -> Int {
        switch self {
        case .fixed(let count): count
        case .automatic: max(1, cores / ranks)
        }
    }

    /// Starts the threads of this rank. Collective over the world.
    ///
    /// - Throws: on all ranks, where a system does not grant them.
    func start(_ world: borrowing Communicator) throws {
        let host = MPIEnvironment.processorName
        let (processors, resources) = try world.agree {
            (try HostResources.processors(), try HostResources.current())
        }
        // mpirun may have bound ranks to cores of their own.
        let place = Array("\(host) \(processors)".utf8)
        let sharing = try world.allGather(place).filter { $0 == place }.count
        let count = resolved(cores: resources.coreCount, ranks: sharing)
        try world.agree {
            let granted = setThreadCount(count)
            guard granted == count else {
                throw Failure.run(
                    "device.threads: expected \(count) threads on \(host), found that its system grants \(granted)"
                )
            }
        }
    }
}

extension ThreadCount {
    init(_ reader: JSONReader) throws {
        if reader.value.string == "auto" {
            self = .automatic
        } else if reader.value.integer != nil {
            self = .fixed(try reader.integer(in: 1...4096))
        } else {
            throw reader.failure(expected: "a number of threads or \"auto\"")
        }
    }

    var json: JSONValue {
        switch self {
        case .fixed(let count): JSONValue(count)
        case .automatic: .string("auto")
        }
    }
}
