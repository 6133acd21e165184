/// The control groups of a Linux process: limits on processors and memory that a container or a service sets, in both
/// versions of the interface.
package struct ControlGroups: Sendable, Equatable {
    /// The folders whose limits hold for a process, its own group first, then those around it.
    package struct Folders: Sendable, Equatable {
        /// Of version 2, for every resource.
        package var unified: [String] = []
        /// Of version 1, for processors and for memory.
        package var processor: [String] = []
        package var memory: [String] = []
    }

    package let folders: Folders

    /// Finds the folders.
    ///
    /// - Parameters:
    ///   - membership: the text of `/proc/self/cgroup`.
    ///   - mounts: the text of `/proc/self/mountinfo`.
    package init(membership: String, mounts: String) {
        var paths: [(controllers: [Substring], path: String)] = []
        for line in membership.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            if fields.count == 3 { paths.append((fields[1].split(separator: ","), String(fields[2]))) }
        }
        var folders = Folders()
        for line in mounts.split(separator: "\n") {
            // "36 35 98:0 /root /mount-point options [optional ...] - type source super-options"
            let fields = line.split(separator: " ")
            guard let dash = fields.firstIndex(of: "-"), dash >= 6, dash + 3 < fields.count else { continue }
            let (root, point) = (String(fields[3]), String(fields[4]))
            func chain(_ isOurs: ([Substring]) -> Bool) -> [String] {
                guard let path = paths.first(where: { isOurs($0.controllers) })?.path else { return [] }
                return Self.chain(path, root: root, mountPoint: point)
            }
            let controllers = fields[dash + 3].split(separator: ",")
            switch fields[dash + 1] {
            case "cgroup2": folders.unified = chain(\.isEmpty)
            case "cgroup" where controllers.contains("cpu"): folders.processor = chain { $0.contains("cpu") }
            case "cgroup" where controllers.contains("memory"):
                folders.memory = chain { $0.contains("memory") }
            default: break
            }
        }
        self.folders = folders
    }

    /// The groups from a path up to the root of what is mounted. In a container the path may be told from outside of
    /// what is mounted; then the mount's root is the container's own group.
    private static func chain(_ path: String, root: String, mountPoint: String) -> [String] {
        var names = path.split(separator: "/")
        let rootNames = root.split(separator: "/")
        if names.starts(with: rootNames) { names.removeFirst(rootNames.count) } else { names = [] }
        return (0...names.count).reversed().map { count in
            ([mountPoint] + names.prefix(count).map(String.init)).joined(separator: "/")
        }
    }

    /// The processors that the groups allow, as a number that may have a fraction; nil without a limit.
    ///
    /// - Parameter read: the text of a file, nil when there is none.
    package func processorLimit(_ read: (String) -> String?) -> Double? {
        let unified = folders.unified.compactMap { folder in
            read(folder + "/cpu.max").flatMap(Self.processors(maximum:))
        }
        let first = folders.processor.compactMap { folder -> Double? in
            guard let quota = read(folder + "/cpu.cfs_quota_us"),
                let period = read(folder + "/cpu.cfs_period_us")
            else { return nil }
            return Self.processors(quota: Self.word(quota), period: Self.word(period))
        }
        return (unified + first).min()
    }

    /// Bytes that could still be allocated within the groups; nil without a limit. Pages of files count as free: the kernel
    /// takes them back when memory is short.
    package func availableMemory(_ read: (String) -> String?) -> Int? {
        func number(_ path: String) -> Int? { read(path).flatMap { Int(Self.word($0)) } }
        func available(limit: Int?, usage: Int?, statistics: String, prefix: String) -> Int? {
            guard let limit, limit < 1 << 60 else { return nil }
            let files = (read(statistics) ?? "").split(separator: "\n").reduce(0) { sum, line in
                let fields = line.split(separator: " ")
                let isFile = ["active_file", "inactive_file"].contains { fields.first ?? "" == prefix + $0 }
                return isFile ? sum + (fields.count == 2 ? Int(fields[1]) ?? 0 : 0) : sum
            }
            return max(0, limit - max(0, (usage ?? 0) - files))
        }
        let unified = folders.unified.compactMap { folder in
            available(
                limit: number(folder + "/memory.max"), usage: number(folder + "/memory.current"),
                statistics: folder + "/memory.stat", prefix: "")
        }
        let first = folders.memory.compactMap { folder in
            available(
                limit: number(folder + "/memory.limit_in_bytes"),
                usage: number(folder + "/memory.usage_in_bytes"),
                statistics: folder + "/memory.stat", prefix: "total_")
        }
        return (unified + first).min()
    }

    /// "200000 100000" is two processors, "max 100000" no limit.
    private static func processors(maximum text: String) -> Double? {
        let fields = text.split(whereSeparator: \.isWhitespace)
        return fields.count == 2 ? processors(quota: fields[0], period: fields[1]) : nil
    }

    private static func processors(quota: Substring, period: Substring) -> Double? {
        guard let quota = Double(quota), let period = Double(period), quota > 0, period > 0 else {
            return nil
        }
        return quota / period
    }

    private static func word(_ text: String) -> Substring {
        text.split(whereSeparator: \.isWhitespace).first ?? ""
    }
}
