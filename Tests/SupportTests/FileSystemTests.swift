import Foundation
import Support
import Testing

@Suite struct FileSystemTests {
    /// Free bytes as df counts them; other programs write meanwhile.
    @Test("free bytes are those that df tells, for what is not there yet as well") func freeBytes() throws {
        let folder = FileManager.default.temporaryDirectory.path
        let told = try FileManager.default.attributesOfFileSystem(forPath: folder)
        let free = try #require((told[.systemFreeSize] as? NSNumber)?.intValue)
        let system = try FileSystem(at: folder + "/not/made/yet")
        #expect(abs(system.freeBytes - free) < 1 << 30)
        #expect(folder.hasPrefix(system.place) && !system.name.isEmpty)
    }

    @Test("the nearest place that exists") func place() throws {
        #expect(try FileSystem(at: "/nowhere/at/all").place == "/")
        #expect(try FileSystem(at: "nowhere").place == ".")
        #expect(nearestExisting("/proc/self/nothing") == "/proc/self")
        #expect(nearestExisting("/") == "/")
    }

    /// As proc(5) shows them: optional fields, an escaped blank, and a mount over a mount.
    private static let mounts = """
        22 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw
        23 22 0:5 / /home rw - xfs /dev/sdb1 rw
        24 23 0:44 / /home/ann/far\\040away rw,nosuid - fuse.sshfs ann@far:/ rw
        25 22 0:50 / /mnt rw - nfs4 nas:/export rw
        26 25 0:51 / /mnt rw - tmpfs tmpfs rw
        nonsense
        """

    @Test(
        "the deepest mount holds a path",
        arguments: [
            ("/", "ext4"), ("/homeless", "ext4"), ("/home", "xfs"), ("/home/ann/far", "xfs"),
            ("/home/ann/far away/runs", "fuse.sshfs"), ("/mnt/runs", "tmpfs"),
        ]) func mounts(path: String, type: String)
    {
        #expect(FileSystem.type(of: path, mounts: Self.mounts) == type)
        #expect(FileSystem.type(of: path, mounts: "") == nil)
    }

    @Test(
        "a cache on a network is told from one on a disk",
        arguments: [
            ("ext4", false), ("tmpfs", false), ("overlay", false), ("fuseblk", false), ("nfs4", true),
            ("cifs", true),
            ("smb3", true), ("fuse.sshfs", true), ("9p", true),
        ]) func networks(name: String, isNetwork: Bool)
    {
        #expect(FileSystem(place: "/", name: name, freeBytes: 0).isNetwork == isNetwork)
    }

    #if os(Linux)
        @Test("memory is told from the disk") func memory() throws {
            #expect(try FileSystem(at: "/dev/shm/nothing").name == "tmpfs")
            #expect(try FileSystem(at: "/proc/self").name == "proc")
        }
    #endif
}
