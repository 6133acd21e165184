import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Cores and memory that this process may use, and what its processor can do.
package struct HostResources {
    package var coreCount: Int
    /// Cores that the parent process may use; more than `coreCount` where `mpirun` has bound this one.
    package var launcherCoreCount: Int
    package var availableMemoryBytes: Int
    package var totalMemoryBytes: Int
    package var hasAVX512: Bool

    /// The memory that is free for a rank when all ranks of its host take as much. Not collective.
    ///
    /// - Parameter hosts: by rank.
    package static func availableMemoryBytes(rank: Int, hosts: [String]) throws -> Int {
        try current().availableMemoryBytes / hosts.filter { $0 == hosts[rank] }.count
    }

    #if os(Linux)
        /// Asks the kernel: affinity, control groups, memory.
        ///
        /// - Throws: when `/proc` is missing or says nothing of the memory or the processors.
        package static func current() throws -> HostResources {
            let groups = ControlGroups(
                membership: readSystemFile("/proc/self/cgroup") ?? "",
                mounts: readSystemFile("/proc/self/mountinfo") ?? "")
            let memory = try MemoryInformation(try required("/proc/meminfo"), file: "/proc/meminfo")
            let allowed = try processors().count
            let launcher = "/proc/\(getppid())/status"
            let launcherAllowed =
                try readSystemFile(launcher).map { try allowedProcessors($0, file: launcher).count }
                ?? allowed
            let quota = groups.processorLimit(readSystemFile).map { max(1, Int($0)) } ?? .max
            return HostResources(
                coreCount: min(allowed, quota), launcherCoreCount: min(launcherAllowed, quota),
                availableMemoryBytes: min(
                    memory.availableBytes, groups.availableMemory(readSystemFile) ?? memory.availableBytes),
                totalMemoryBytes: memory.totalBytes,
                hasAVX512: processorFlags(readSystemFile("/proc/cpuinfo") ?? "").contains("avx512f"))
        }

        /// The processors that the scheduler may put this process on, by number.
        package static func processors() throws -> [Int] {
            try allowedProcessors(try required("/proc/self/status"), file: "/proc/self/status")
        }

        private static func required(_ path: String) throws -> String {
            guard let text = readSystemFile(path) else {
                throw Failure.run("\(path): cannot be read: \(systemReason())")
            }
            return text
        }
    #else
        /// Asks the kernel. It tells the machine's memory, not how much of it is free, so all of it counts as available.
        ///
        /// - Throws: when it does not tell the memory.
        package static func current() throws -> HostResources {
            guard let memory = number("hw.memsize") else {
                throw Failure.run("sysctl hw.memsize: cannot be read: \(systemReason())")
            }
            let count = max(1, number("hw.ncpu") ?? 1)
            return HostResources(
                coreCount: count, launcherCoreCount: count, availableMemoryBytes: memory,
                totalMemoryBytes: memory,
                hasAVX512: number("hw.optional.avx512f") == 1)
        }

        /// All processors: the system binds no process to some of them.
        package static func processors() throws -> [Int] { Array(0..<max(1, number("hw.ncpu") ?? 1)) }

        private static func number(_ name: String) -> Int? {
            var value: Int64 = 0
            var size = MemoryLayout<Int64>.size
            return sysctlbyname(name, &value, &size, nil, 0) == 0 ? Int(value) : nil
        }
    #endif
}

/// What `/proc/meminfo` tells.
package struct MemoryInformation: Sendable, Equatable {
    package let totalBytes: Int
    /// What could be allocated without swapping.
    package let availableBytes: Int

    /// - Throws: a run failure that names the file and the line that is missing.
    package init(_ text: String, file: String) throws {
        func bytes(_ key: String) throws -> Int {
            for line in text.split(separator: "\n") where line.hasPrefix(key + ":") {
                let fields = line.split(whereSeparator: \.isWhitespace)
                if fields.count == 3, fields[2] == "kB", let count = Int(fields[1]) { return count * 1024 }
            }
            throw Failure.run("\(file): expected a line \"\(key): NUMBER kB\", found none")
        }
        totalBytes = try bytes("MemTotal")
        availableBytes = try bytes("MemAvailable")
    }
}

/// The processors that the scheduler may put a process on, from the text of `/proc/self/status`
/// ("Cpus_allowed_list: 0-3,6").
///
/// - Throws: a run failure that names the file and the line that is missing.
package func allowedProcessors(_ text: String, file: String) throws -> [Int] {
    for line in text.split(separator: "\n") where line.hasPrefix("Cpus_allowed_list:") {
        let runs = line.drop { $0 != ":" }.dropFirst().split(separator: ",").map {
            part -> ClosedRange<Int>? in
            let ends = part.split(separator: "-").map { Int($0.filter { !$0.isWhitespace }) }
            guard let first = ends.first ?? nil, let last = ends.last ?? nil, first <= last else {
                return nil
            }
            return first...last
        }
        if !runs.isEmpty, !runs.contains(nil) { return runs.flatMap { Array($0!) } }
    }
    throw Failure.run("\(file): expected a line \"Cpus_allowed_list: NUMBERS\", found none")
}

/// The features of the first processor in the text of `/proc/cpuinfo`.
package func processorFlags(_ text: String) -> Set<Substring> {
    for line in text.split(separator: "\n") where line.hasPrefix("flags") {
        guard let colon = line.firstIndex(of: ":") else { continue }
        return Set(line[line.index(after: colon)...].split(separator: " "))
    }
    return []
}
