import Plans
import Reporting
import Support

extension ClusterReport {
    /// Looks through what ranks told of themselves for what harms or hinders training.
    package struct Examination {
        package let identities: [RankIdentity]
        package let details: [RankDetails]
        package let links: [LinkProfile]
        package let launch: LaunchEnvironment
        package let selection: InterfaceSelection
        package let needs: Needs?

        /// Clocks that differ by more than this many seconds are warned of.
        static let clockTolerance = 1.0
        /// Bytes per second that the slowest wire of a home, 100 Mbit/s, nearly carries: what is slower is Wi-Fi or a fault.
        static let slowLink = 10e6

        private var hosts: [String] { identities.map(\.host) }
        private var hostNames: [String] { unique(hosts) }

        private func ranks(on host: String) -> [Int] { hosts.indices.filter { hosts[$0] == host } }

        package var findings: [Finding] {
            let foreign = Handshake.foreignLauncher(
                launch, worldSize: identities.count, mpiVersion: identities[0].mpiVersion)
            let basic = (foreign.map { [$0] } ?? []) + Handshake.disagreements(identities)
            guard !details.isEmpty else { return basic }
            return basic + experiment + models + data + architectures + network + slowLinks + cores + slots
                + HostDescription.findings(details.map(\.description)) + blasVersions + disks + memory
                + clocks
        }

        // MARK: The experiment

        private var experiment: [Finding] {
            guard let failure = needs?.failure else { return [] }
            return [Finding(.problem, failure, remedy: "mend it: training would end with this message")]
        }

        private var models: [Finding] {
            let reasons = details.map { details -> String? in
                if case .unusable(let reason) = details.model { reason } else { nil }
            }
            let unusable = unique(reasons.compactMap { $0 }).map { reason in
                Finding(
                    .problem,
                    "\(rankNames(reasons.indices.filter { reasons[$0] == reason }, hosts: hosts)): \(reason)",
                    remedy: "copy the model's directory to the same path on each host")
            }
            let fingerprints = details.enumerated().compactMap { rank, details in
                if case .fingerprint(let text) = details.model { (rank: rank, text: text) } else { nil }
            }
            return unusable + Handshake.modelDisagreements(fingerprints, hosts: hosts)
        }

        /// Only rank 0 reads the data, so another copy does no harm until a run is started from its host.
        private var data: [Finding] {
            (needs?.dataPaths ?? []).enumerated().compactMap { index, path in
                let own = details.map { $0.dataChecksums[index] }
                let others = own.indices.filter { own[$0] != nil && own[$0] != own[0] }
                guard !others.isEmpty else { return nil }
                return Finding(
                    .warning,
                    "\(rankNames(others, hosts: hosts)): \(path) is not the file of rank 0, whose copy is used",
                    remedy: "copy rank 0's there, or remove it")
            }
        }

        // MARK: Processors

        private var architectures: [Finding] {
            let names = identities.map(\.build.architecture)
            guard unique(names).count > 1 else { return [] }
            let parts = unique(names).map { name in
                "\(name) on \(rankNames(names.indices.filter { names[$0] == name }))"
            }
            return [
                Finding(
                    .warning,
                    "processor architectures differ (\(parts.joined(separator: ", "))): ranks round differently, and "
                        + "few builds of Open MPI connect them",
                    remedy:
                        "where training fails to start, build Open MPI with --enable-heterogeneous on all "
                        + "hosts, or use hosts of one architecture")
            ]
        }

        private var cores: [Finding] {
            hostNames.compactMap { host in
                let ranks = ranks(on: host)
                let count = coreCount(of: ranks)
                let cores = "\(count) core\(count == 1 ? "" : "s")"
                if ranks.count > count {
                    return Finding(
                        .warning,
                        "\(rankNames(ranks, hosts: hosts)) share \(cores): they slow each other down",
                        remedy: "start at most \(count) there (`\(host) slots=\(count)` in the host file)")
                }
                let hardware = ranks.map { details[$0].description }
                let threads = hardware.reduce(0) { $0 + $1.threadCount }
                // What is wrong with a rank by itself, its description tells.
                guard threads > count, hardware.allSatisfy({ $0.threadCount <= $0.coreCount }) else {
                    return nil
                }
                return Finding(
                    .warning,
                    "\(rankNames(ranks, hosts: hosts)) compute on \(threads) threads (device.threads) and share "
                        + "\(cores): they slow each other down", remedy: "set device.threads to \"auto\"")
            }
        }

        /// Cores that the ranks of a host may use together: bound ones have their own each, a quota is for all of them.
        private func coreCount(of ranks: [Int]) -> Int {
            let most = ranks.map { details[$0].description.coreCount }.max()!
            let hasQuota = ranks.contains { details[$0].description.coreCount < details[$0].processors.count }
            return hasQuota ? most : max(most, Set(ranks.flatMap { details[$0].processors }).count)
        }

        private var slots: [Finding] {
            guard let count = launch.slotCount, count < identities.count else { return [] }
            return [
                Finding(
                    .warning,
                    "\(identities.count) ranks are started in \(count) slot\(count == 1 ? "" : "s")",
                    remedy:
                        "give hosts as many slots as cores (`HOST slots=N` in the host file), and start no more "
                        + "ranks (`mpirun -np \(count)`)")
            ]
        }

        private var blasVersions: [Finding] {
            let versions = details.map(\.blasVersion)
            guard unique(versions).count > 1 else { return [] }
            let parts = unique(versions).map { version in
                "\(version) on \(rankNames(versions.indices.filter { versions[$0] == version }))"
            }
            return [
                Finding(
                    .warning,
                    "OpenBLAS versions differ (\(parts.joined(separator: ", "))): ranks may round differently",
                    remedy: "install one version of OpenBLAS on all hosts")
            ]
        }

        // MARK: Disk, memory, clock

        private var disks: [Finding] {
            hostNames.flatMap { host -> [Finding] in
                let ranks = ranks(on: host)
                let disk = details[ranks[0]].disk
                var findings: [Finding] = []
                if disk.isNetwork {
                    findings.append(
                        Finding(
                            .warning,
                            "\(rankNames(ranks, hosts: hosts)): the cache would lie on a network file system, "
                                + "\(disk.name), at \(disk.place)",
                            remedy:
                                "name a directory on a local disk as cache.directory; where there is none, set "
                                + "HDF5_USE_FILE_LOCKING=FALSE (`mpirun -x HDF5_USE_FILE_LOCKING=FALSE`)"))
                }
                // While samples change hands, what a rank computed and what it receives are both there.
                let copies = identities.count > 1 ? 2 : 1
                if let total = needs?.cacheBytes {
                    let needed = total / identities.count * ranks.count * copies
                    if disk.freeBytes < needed {
                        findings.append(
                            Finding(
                                .warning,
                                "\(rankNames(ranks, hosts: hosts)): the cache may take \(Format.bytes(needed)) at "
                                    + "\(disk.place), of which \(Format.bytes(disk.freeBytes)) are free",
                                remedy: "free some, or name a directory on a larger disk as cache.directory"))
                    }
                }
                return findings
            }
        }

        private var memory: [Finding] {
            guard let budget = needs?.memoryBudget else { return [] }
            return hostNames.compactMap { host in
                let ranks = ranks(on: host)
                let free = ranks.map { details[$0].description.availableMemoryBytes }.min()!
                guard let bytes = budget.bytes(onHost: host), bytes > free / ranks.count else { return nil }
                return Finding(
                    .warning,
                    "\(rankNames(ranks, hosts: hosts)): device.memory_budget_bytes allows \(Format.bytes(bytes)) a "
                        + "rank, of \(Format.bytes(free)) that are free on the host",
                    remedy: "lower it to \(free / ranks.count), or free memory there")
            }
        }

        private var clocks: [Finding] {
            hostNames.compactMap { host in
                let ranks = ranks(on: host)
                let seconds = details[ranks[0]].clockSeconds
                guard abs(seconds) > Self.clockTolerance else { return nil }
                return Finding(
                    .warning,
                    "\(rankNames(ranks, hosts: hosts)): the clock is \(Format.duration(abs(seconds))) "
                        + "\(seconds < 0 ? "behind" : "ahead of") rank 0's",
                    remedy: "let the network set it (`sudo timedatectl set-ntp true`)")
            }
        }
    }
}
