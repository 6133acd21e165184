import Configuration
import MPI
import Support

/// What the cache files of each rank may take of its disk.
package struct CacheRoom: Sendable {
    /// By rank.
    package let bytes: [Int]
    package let hosts: [String]

    package init(bytes: [Int], hosts: [String]) {
        self.bytes = bytes
        self.hosts = hosts
    }

    /// The budget or, without one, of the free space of a disk an equal part for each rank of the host that uses it.
    /// Collective over the world.
    package static func find(
        _ directory: CacheDirectory, budget: ByteBudget?, _ world: borrowing Communicator
    ) throws -> CacheRoom {
        let own = try world.agree { () -> String in
            let disk = try FileSystem(at: directory.path)
            // Files of an earlier launch belong to this run: their space counts as free.
            let held = try directory.files().reduce(0) { $0 + fileSize($1) }
            return "\(MPIEnvironment.processorName)\n\(disk.identifier)\n\(disk.freeBytes + held)"
        }
        let disks = try world.allGather(Array(own.utf8)).map { bytes in
            String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        }
        let hosts = disks.map { $0[0] }
        try world.agree { try budget?.check(hosts, key: "cache.budget_bytes") }
        let bytes = disks.map { disk -> Int in
            let sharing = disks.filter { $0[0] == disk[0] && $0[1] == disk[1] }.count
            // The last twentieth of a disk is for everything else.
            let free: Int = Int(disk[2])! / 20 * 19 / sharing
            // A file system without numbers (procfs) reports 0. If it is full, the write fails with the system's message.
            if Int(disk[2])! == 0, budget == nil { return Int.max }
            // A budget is not checked against the free space: file systems do not always report it correctly.
            return budget?.bytes(onHost: disk[0]) ?? free
        }
        return CacheRoom(bytes: bytes, hosts: hosts)
    }
}
