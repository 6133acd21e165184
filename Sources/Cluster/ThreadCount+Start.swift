import Configuration
import MPI
import Support
import TensorCore

extension ThreadCount {
    /// Starts the threads of this rank. Collective over the world.
    ///
    /// - Throws: on all ranks, where a system does not grant them.
    package func start(_ world: borrowing Communicator) throws {
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
