#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The file system that a path lies on, or would lie on once it is made.
public struct FileSystem: Sendable, Equatable {
    /// The path that was asked for, or the nearest directory above it that is there.
    public let place: String
    /// Its type as mount(8) spells it: "ext4", "nfs4", "fuse.sshfs".
    public let name: String
    /// Bytes that this user may still write.
    public let freeBytes: Int
    /// The system's number of it on this host: the same for all paths that share its free bytes.
    public let identifier: UInt64

    public init(place: String, name: String, freeBytes: Int, identifier: UInt64 = 0) {
        self.identifier = identifier
        self.place = place
        self.name = name
        self.freeBytes = freeBytes
    }

    /// Asks the system. Nothing is made.
    ///
    /// - Throws: a configuration failure that names the path and the system's reason.
    public init(at path: String) throws {
        let place = nearestExisting(path)
        var space = statvfs()
        var status = stat()
        guard statvfs(place, &space) == 0, stat(place, &status) == 0 else {
            throw Self.failure(place, systemReason())
        }
        identifier = UInt64(truncatingIfNeeded: status.st_dev)
        self.place = place
        freeBytes = Int(clamping: UInt64(space.f_bavail) * UInt64(space.f_frsize))
        #if os(Linux)
            guard let real = realpath(place, nil) else { throw Self.failure(place, systemReason()) }
            defer { free(real) }
            guard let mounts = readSystemFile("/proc/self/mountinfo"),
                let name = Self.type(of: String(cString: real), mounts: mounts)
            else { throw Self.failure(place, "/proc/self/mountinfo does not tell") }
            self.name = name
        #else
            var kind = statfs()
            guard statfs(place, &kind) == 0 else { throw Self.failure(place, systemReason()) }
            name = withUnsafeBytes(of: kind.f_fstypename) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
        #endif
    }

    private static func failure(_ place: String, _ reason: String) -> Failure {
        .configuration("\(place): its file system cannot be told: \(reason)")
    }

    /// Whether files travel over a network: slow to map, and their locks often fail.
    public var isNetwork: Bool {
        // Programs serve FUSE: sshfs and its like over a network, ntfs-3g ("fuseblk") from a disk.
        name.hasPrefix("fuse.") || name.hasPrefix("nfs") || name.hasPrefix("smb")
            || Self.networkNames.contains(name)
    }

    private static let networkNames: Set<String> = [
        "cifs", "9p", "afs", "ceph", "lustre", "gpfs", "gfs2", "ocfs2", "coda", "pvfs2", "panfs", "virtiofs",
        "glusterfs", "vboxsf", "prl_fs", "davfs", "webdav", "afpfs", "ncpfs", "beegfs", "orangefs",
    ]

    /// The type of the mount that a path without links lies in, by the text of `/proc/self/mountinfo`: the deepest one, and
    /// of several at one place the last, which hides the others.
    ///
    /// - Source: proc(5): fields 5, the place, and the first one after a lone "-", the type.
    public static func type(of path: String, mounts: String) -> String? {
        var best: (depth: Int, type: String)?
        for line in mounts.split(separator: "\n") {
            let fields = line.split(separator: " ", omittingEmptySubsequences: false)
            guard let divider = fields.firstIndex(of: "-"), divider > 5, divider + 1 < fields.count else {
                continue
            }
            let point = unescaped(fields[4])
            guard point == "/" || path == point || path.hasPrefix(point + "/"),
                best.map({ $0.depth <= point.utf8.count }) ?? true
            else { continue }
            best = (point.utf8.count, String(fields[divider + 1]))
        }
        return best?.type
    }

    /// A place as the kernel writes it: blanks, tabs, line ends and backslashes are three octal digits behind a backslash.
    private static func unescaped(_ text: Substring) -> String {
        let bytes = Array(text.utf8)
        var out: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "\\"), index + 3 < bytes.count,
                let code = UInt8(String(decoding: bytes[index + 1...index + 3], as: UTF8.self), radix: 8)
            {
                out.append(code)
                index += 4
            } else {
                out.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}
