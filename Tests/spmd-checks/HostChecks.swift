import Cluster
import MPI
import RankChecks
import TensorCore

let hostChecks: [(name: String, run: RankCheck)] = [("host-descriptions", hostDescriptions)]

@Sendable private func hostDescriptions(_ world: borrowing Communicator) throws {
    let hosts = try HostDescription.gather(world)
    try expectEqual(hosts.count, world.size, "descriptions")
    try expectEqual(hosts[world.rank].host, MPIEnvironment.processorName, "host")
    try expectEqual(hosts[world.rank].blasCore, blasCoreType, "BLAS core")
    for host in hosts {
        try expect(
            host.coreCount >= 1 && host.availableMemoryBytes > 1 << 20
                && host.totalMemoryBytes >= host.availableMemoryBytes, "description \(host)")
    }
}
