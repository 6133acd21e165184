import Foundation

/// A small file system in memory, which is full soon: mounted on a directory that it makes, until `unmount()` or its end.
public final class SmallDisk {
    public let path: String
    private var isMounted = true

    /// Whether this user may mount one; tests that need it are enabled by this.
    public static let isPermitted: Bool = {
        let path = NSTemporaryDirectory() + "pac-mpi-disk-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: path) }
        return (try? SmallDisk(path, kibibytes: 1024).unmount()) != nil
    }()

    public init(_ path: String, kibibytes: Int) throws {
        self.path = path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try Self.run(["mount", "-t", "tmpfs", "-o", "size=\(kibibytes)k", "tmpfs", path])
    }

    deinit {
        // Whoever wants to know of a failure has unmounted it.
        if isMounted { try? unmount() }
    }

    /// Takes the file system away, from under files that are still open as well.
    public func unmount() throws {
        isMounted = false
        try Self.run(["umount", "-l", path])
    }

    private static func run(_ arguments: [String]) throws {
        let outcome = try launch("/usr/bin/env", arguments, seconds: 10)
        guard outcome.status == 0 else {
            throw LaunchError("\(arguments.joined(separator: " ")): \(outcome.errors)")
        }
    }
}
