import MPI
import Support
import TensorCore

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// What a rank has to work with: its host, cores, memory and BLAS kernels.
package struct HostDescription: Sendable, Equatable {
    package var host: String
    /// Cores that this process may use, by affinity and by the quota of its control groups; at least 1.
    package var coreCount: Int
    /// The same of the `mpirun` or its daemon that started it; more where that has bound it to some of them.
    package var launcherCoreCount: Int
    /// Threads that it computes on.
    package var threadCount: Int
    /// Bytes that could be allocated now, by the system's count and by the limits of the control groups.
    package var availableMemoryBytes: Int
    /// Bytes of the machine.
    package var totalMemoryBytes: Int
    /// The core type that the BLAS library chose ("Haswell").
    package var blasCore: String
    /// The value of `OPENBLAS_CORETYPE`, which overrides that choice; nil when it is not set.
    package var blasCoreOverride: String?
    /// Whether the processor has AVX-512.
    package var hasAVX512: Bool

    package init(
        host: String, coreCount: Int, launcherCoreCount: Int, threadCount: Int, availableMemoryBytes: Int,
        totalMemoryBytes: Int,
        blasCore: String, blasCoreOverride: String?, hasAVX512: Bool
    ) {
        self.host = host
        self.coreCount = coreCount
        self.launcherCoreCount = launcherCoreCount
        self.threadCount = threadCount
        self.availableMemoryBytes = availableMemoryBytes
        self.totalMemoryBytes = totalMemoryBytes
        self.blasCore = blasCore
        self.blasCoreOverride = blasCoreOverride
        self.hasAVX512 = hasAVX512
    }

    /// Describes this process. Not collective.
    ///
    /// - Throws: when the system does not tell its memory.
    package static func current() throws -> HostDescription {
        let resources = try HostResources.current()
        return HostDescription(
            host: MPIEnvironment.processorName, coreCount: resources.coreCount,
            launcherCoreCount: resources.launcherCoreCount,
            threadCount: TensorCore.threadCount,
            availableMemoryBytes: resources.availableMemoryBytes,
            totalMemoryBytes: resources.totalMemoryBytes,
            blasCore: blasCoreType, blasCoreOverride: getenv("OPENBLAS_CORETYPE").map { String(cString: $0) },
            hasAVX512: resources.hasAVX512)
    }

    /// Every rank's description, by rank, on every rank. Collective.
    package static func gather(_ world: borrowing Communicator) throws -> [HostDescription] {
        let own = try world.agree { try current() }
        return try world.allGatherJSON(own.json, "description").map { try HostDescription($0) }
    }

    /// What keeps ranks from being as fast, or as alike, as they could be: a sentence for each thing and the ranks it
    /// holds for.
    ///
    /// - Parameter hosts: by rank.
    package static func findings(_ hosts: [HostDescription]) -> [Finding] {
        var causes: [(text: String, remedy: String, ranks: [Int])] = []
        func add(_ text: String, _ rank: Int, remedy: String) {
            if let index = causes.firstIndex(where: { $0.text == text }) {
                causes[index].ranks.append(rank)
            } else {
                causes.append((text, remedy, [rank]))
            }
        }
        for (rank, host) in hosts.enumerated() {
            if host.threadCount > host.coreCount {
                add(
                    "\(host.threadCount) threads (device.threads) have \(host.coreCount) core\(host.coreCount == 1 ? "" : "s")",
                    rank,
                    remedy:
                        "set device.threads to \"auto\"; where mpirun binds ranks to cores, start it with "
                        + "--bind-to none")
            }
            let threads = hosts.filter { $0.host == host.host }.reduce(0) { $0 + $1.threadCount }
            if host.threadCount == host.coreCount, threads < host.launcherCoreCount,
                host.coreCount < host.launcherCoreCount
            {
                add(
                    "bound by mpirun to \(host.coreCount) of \(host.launcherCoreCount) cores, which leaves "
                        + "\(host.launcherCoreCount - threads) idle (mpirun --bind-to none)", rank,
                    remedy: "start mpirun with --bind-to none, and set device.threads to \"auto\"")
            }
            if let value = host.blasCoreOverride {
                add(
                    "OPENBLAS_CORETYPE is set to \"\(value)\": OpenBLAS uses its \(host.blasCore) kernels without "
                        + "asking the processor", rank,
                    remedy: "unset OPENBLAS_CORETYPE in the environment of these ranks")
            }
            if host.hasAVX512, !wideBLASCores.contains(host.blasCore.lowercased()) {
                add(
                    "OpenBLAS uses its \(host.blasCore) kernels on a processor with AVX-512, where matrix products "
                        + "could be up to twice as fast", rank,
                    remedy: host.blasCoreOverride == nil
                        ? "install an OpenBLAS that is new enough to know this processor"
                        : "unset OPENBLAS_CORETYPE, or set it to SkylakeX")
            }
        }
        var findings = causes.map {
            Finding(.warning, "\(rankNames($0.ranks)): \($0.text)", remedy: $0.remedy)
        }
        let cores = unique(hosts.map(\.blasCore))
        if cores.count > 1 {
            let parts = cores.map { core in
                "\(core) on \(rankNames(hosts.indices.filter { hosts[$0].blasCore == core }))"
            }
            findings.append(
                Finding(
                    .warning,
                    "OpenBLAS kernels differ (\(parts.joined(separator: ", "))): ranks round differently, so results "
                        + "depend on which rank computes what",
                    remedy:
                        "none is needed unless results must be alike to the last digit; then set OPENBLAS_CORETYPE to a "
                        + "type that all processors can run"))
        }
        return findings
    }

    /// The texts of `findings`.
    package static func warnings(_ hosts: [HostDescription]) -> [String] { findings(hosts).map(\.text) }

    /// The core types whose kernels use AVX-512, in lower case: OpenBLAS is of two minds about the spelling.
    private static let wideBLASCores: Set<String> = ["skylakex", "cooperlake", "sapphirerapids"]
}

extension HostDescription {
    /// Reads a description, strictly.
    ///
    /// - Throws: a configuration failure that names file, line, key path, what was expected and what was found.
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "host", "cores", "launcher_cores", "threads", "available_memory_bytes", "total_memory_bytes",
            "blas_core",
            "blas_core_override",
            "avx512",
        ])
        self.init(
            host: try object.required("host").string(),
            coreCount: try object.required("cores").integer(in: 1...Int.max),
            launcherCoreCount: try object.required("launcher_cores").integer(in: 1...Int.max),
            threadCount: try object.required("threads").integer(in: 1...Int.max),
            availableMemoryBytes: try object.required("available_memory_bytes").integer(in: 0...Int.max),
            totalMemoryBytes: try object.required("total_memory_bytes").integer(in: 0...Int.max),
            blasCore: try object.required("blas_core").string(),
            blasCoreOverride: try object.optional("blas_core_override")?.string(),
            hasAVX512: try object.required("avx512").bool())
    }

    package var json: JSONValue {
        .dictionary([
            ("host", JSONValue(host)), ("cores", JSONValue(coreCount)),
            ("launcher_cores", JSONValue(launcherCoreCount)), ("threads", JSONValue(threadCount)),
            ("available_memory_bytes", JSONValue(availableMemoryBytes)),
            ("total_memory_bytes", JSONValue(totalMemoryBytes)), ("blas_core", JSONValue(blasCore)),
            ("blas_core_override", blasCoreOverride.map { JSONValue($0) } ?? .null),
            ("avx512", .bool(hasAVX512)),
        ])
    }
}
