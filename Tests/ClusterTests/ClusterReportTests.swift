import Cluster
import Plans
import Support
import Testing

/// What `doctor` concludes from what ranks told: one thing wrong at a time, in a cluster of two hosts with two ranks each.
@Suite struct ClusterReportTests {
    private static let ethernet = ["10.0.0.1", "10.0.0.2"].map {
        NetworkInterface(name: "eth0", address: $0, prefixLength: 24)
    }
    private static let loopback = NetworkInterface(name: "lo", address: "127.0.0.1", prefixLength: 8)
    private static let docker = NetworkInterface(name: "docker0", address: "172.17.0.1", prefixLength: 16)

    /// A cluster of which nothing is wrong, to be damaged.
    struct Cluster {
        var identities = (0..<4).map { rank in
            RankIdentity(
                host: rank < 2 ? "ann" : "bob",
                build: ProgramBuild(
                    version: "1.2.3", architecture: "x86_64", isLittleEndian: true, checksum: "0123abcd"),
                mpiVersion: "Open MPI v4.1.4", arguments: ["doctor"])
        }
        var details = (0..<4).map { rank in
            RankDetails(
                description: HostDescription(
                    host: rank < 2 ? "ann" : "bob", coreCount: 2, launcherCoreCount: 2, threadCount: 1,
                    availableMemoryBytes: 4_000_000_000,
                    totalMemoryBytes: 8_000_000_000, blasCore: "Haswell", blasCoreOverride: nil,
                    hasAVX512: false),
                processors: [0, 1], blasConfiguration: "OpenBLAS 0.3.21 DYNAMIC_ARCH Haswell",
                hdf5Version: "1.10.8",
                interfaces: [ClusterReportTests.loopback, ClusterReportTests.ethernet[rank / 2]],
                routes: [
                    NetworkRoute(
                        host: rank < 2 ? "bob" : "ann", interface: ClusterReportTests.ethernet[rank / 2])
                ],
                disk: FileSystem(place: "/home", name: "ext4", freeBytes: 1_000_000), clockSeconds: 0,
                model: .fingerprint("aa"), dataChecksums: [rank == 0 ? "dd" : nil])
        }
        var links = (0..<4).flatMap { low in
            (low + 1..<4).map {
                LinkProfile(ranks: (low, $0), bandwidth: 110e6, latencySeconds: 0.0002)
            }
        }
        var environment = [
            "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0", "OMPI_UNIVERSE_SIZE": "4",
        ]
        var needs: ClusterReport.Needs? = ClusterReport.Needs(dataPaths: ["train.jsonl"])

        var report: ClusterReport {
            ClusterReport(
                identities: identities, details: details, links: links,
                launch: LaunchEnvironment { environment[$0] },
                selection: InterfaceSelection { environment[$0] }, needs: needs)
        }
    }

    /// Something wrong, and what is said of it: the only finding.
    struct Case: CustomTestStringConvertible, Sendable {
        let testDescription: String
        var severity = Finding.Severity.warning
        let text: String
        let remedy: String
        let damage: @Sendable (inout Cluster) -> Void
    }

    private static let interfaceRemedy =
        "start with `mpirun --mca btl_tcp_if_include 10.0.0.0/24 --mca oob_tcp_if_include 10.0.0.0/24 ...`"

    static let cases = [
        Case(
            testDescription: "another build", severity: .problem,
            text:
                "ranks 2, 3 (bob): expected the program of rank 0 (ann), 1.2.3 x86_64 0123abcd, found 1.2.3 x86_64 "
                + "ffff0000",
            remedy: "copy one build to all hosts of that architecture, or build one commit on all",
            damage: { for rank in 2..<4 { $0.identities[rank].build.checksum = "ffff0000" } }),
        Case(
            testDescription: "another version on another architecture", severity: .problem,
            text: "rank 3 (bob): expected the program of rank 0 (ann), version 1.2.3, found version 1.2.4",
            remedy: "copy one build to all hosts of that architecture, or build one commit on all",
            damage: {
                $0.identities[3].build = ProgramBuild(
                    version: "1.2.4", architecture: "arm64", isLittleEndian: true, checksum: "5555")
                $0.details = []
            }),
        Case(
            testDescription: "another architecture",
            text:
                "processor architectures differ (x86_64 on ranks 0-2, arm64 on rank 3): ranks round differently, and "
                + "few builds of Open MPI connect them",
            remedy:
                "where training fails to start, build Open MPI with --enable-heterogeneous on all hosts, or use "
                + "hosts of one architecture",
            damage: {
                $0.identities[3].build.architecture = "arm64"
                $0.identities[3].build.checksum = "5555"
            }),
        Case(
            testDescription: "another byte order", severity: .problem,
            text:
                "rank 3 (bob): expected numbers in the byte order of rank 0 (ann), little-endian, found big-endian",
            remedy: "train on processors of one byte order",
            damage: {
                $0.identities[3].build = ProgramBuild(
                    version: "1.2.3", architecture: "s390x", isLittleEndian: false, checksum: "5555")
                $0.details = []
            }),
        Case(
            testDescription: "another Open MPI", severity: .problem,
            text:
                "ranks 2, 3 (bob): expected the MPI library of rank 0 (ann), Open MPI v4.1.4, found Open MPI v4.1.6",
            remedy: "install one version of Open MPI on all hosts",
            damage: { for rank in 2..<4 { $0.identities[rank].mpiVersion = "Open MPI v4.1.6" } }),
        Case(
            testDescription: "other arguments", severity: .problem,
            text: "rank 1 (ann): expected the arguments of rank 0 (ann), no more, found \"--json\"",
            remedy: "start all ranks by one mpirun with one command line",
            damage: { $0.identities[1].arguments.append("--json") }),
        Case(
            testDescription: "another model", severity: .problem,
            text: "rank 2 (bob): expected the model of rank 0 (ann), aa, found bb",
            remedy: "copy the model's directory (model.path) from one host to all others",
            damage: { $0.details[2].model = .fingerprint("bb") }),
        Case(
            testDescription: "no model", severity: .problem,
            text: "rank 2 (bob): models/x/config.json: cannot be read: No such file or directory",
            remedy: "copy the model's directory to the same path on each host",
            damage: {
                $0.details[2].model = .unusable(
                    "models/x/config.json: cannot be read: No such file or directory")
            }),
        Case(
            testDescription: "an experiment that rank 0 cannot prepare", severity: .problem,
            text: "train.jsonl:3: no label", remedy: "mend it: training would end with this message",
            damage: { $0.needs?.failure = "train.jsonl:3: no label" }),
        Case(
            testDescription: "other data",
            text: "rank 3 (bob): train.jsonl is not the file of rank 0, whose copy is used",
            remedy: "copy rank 0's there, or remove it",
            damage: { $0.details[3].dataChecksums = ["ee"] }),
        Case(
            testDescription: "a bridge for containers",
            text:
                "bob has docker0 (172.17.0.1) up, for containers or virtual machines: Open MPI may try to reach "
                + "other hosts through it, and hang", remedy: interfaceRemedy,
            damage: { for rank in 2..<4 { $0.details[rank].interfaces.append(docker) } }),
        Case(
            testDescription: "a way through a bridge for containers",
            text: "bob would reach ann through docker0 (172.17.0.1), which leads to no other computer",
            remedy: interfaceRemedy,
            damage: { $0.details[2].routes[0].interface = docker }),
        Case(
            testDescription: "no way",
            text: "ann knows no way to bob over the interfaces that Open MPI may use",
            remedy: "connect both to one network, and name that one in btl_tcp_if_include",
            damage: { for rank in 0..<2 { $0.details[rank].routes[0].interface = nil } }),
        Case(
            testDescription: "a slow link",
            text: "ann and bob exchange 3.1 MB/s, less than a wire of 100 Mbit/s carries",
            remedy: "use a cable of 1 Gbit/s in place of Wi-Fi, or look for a bad cable or port",
            damage: { cluster in
                for index in cluster.links.indices where cluster.links[index].ranks.1 > 1 {
                    cluster.links[index].bandwidth = 3.1e6
                }
            }),
        Case(
            testDescription: "more ranks than cores",
            text: "ranks 2, 3 (bob) share 1 core: they slow each other down",
            remedy: "start at most 1 there (`bob slots=1` in the host file)",
            damage: { cluster in
                for rank in 2..<4 {
                    cluster.details[rank].processors = [0]
                    cluster.details[rank].description.coreCount = 1
                }
            }),
        Case(
            testDescription: "more ranks than a quota allows",
            text: "ranks 2, 3 (bob) share 1 core: they slow each other down",
            remedy: "start at most 1 there (`bob slots=1` in the host file)",
            damage: { for rank in 2..<4 { $0.details[rank].description.coreCount = 1 } }),
        Case(
            testDescription: "more threads than cores",
            text:
                "ranks 0, 1 (ann) compute on 4 threads (device.threads) and share 2 cores: they slow each other down",
            remedy: "set device.threads to \"auto\"",
            damage: { for rank in 0..<2 { $0.details[rank].description.threadCount = 2 } }),
        Case(
            testDescription: "threads that mpirun binds to a core",
            text: "ranks 2, 3: 2 threads (device.threads) have 1 core",
            remedy:
                "set device.threads to \"auto\"; where mpirun binds ranks to cores, start it with --bind-to none",
            damage: { cluster in
                for rank in 2..<4 {
                    cluster.details[rank].processors = [rank]
                    cluster.details[rank].description.coreCount = 1
                    cluster.details[rank].description.threadCount = 2
                }
            }),
        Case(
            testDescription: "more ranks than slots", text: "4 ranks are started in 3 slots",
            remedy:
                "give hosts as many slots as cores (`HOST slots=N` in the host file), and start no more ranks "
                + "(`mpirun -np 3`)",
            damage: { $0.environment["OMPI_UNIVERSE_SIZE"] = "3" }),
        Case(
            testDescription: "a core type that someone set",
            text:
                "rank 1: OPENBLAS_CORETYPE is set to \"Haswell\": OpenBLAS uses its Haswell kernels without asking "
                + "the processor", remedy: "unset OPENBLAS_CORETYPE in the environment of these ranks",
            damage: { $0.details[1].description.blasCoreOverride = "Haswell" }),
        Case(
            testDescription: "another OpenBLAS",
            text:
                "OpenBLAS versions differ (0.3.21 on ranks 0-2, 0.3.26 on rank 3): ranks may round differently",
            remedy: "install one version of OpenBLAS on all hosts",
            damage: { $0.details[3].blasConfiguration = "OpenBLAS 0.3.26 Haswell" }),
        Case(
            testDescription: "a cache on a network",
            text: "ranks 2, 3 (bob): the cache would lie on a network file system, nfs4, at /home",
            remedy: "name a directory on a local disk as cache.directory; where there is none, set "
                + "HDF5_USE_FILE_LOCKING=FALSE (`mpirun -x HDF5_USE_FILE_LOCKING=FALSE`)",
            damage: {
                for rank in 2..<4 {
                    $0.details[rank].disk = FileSystem(place: "/home", name: "nfs4", freeBytes: 1_000_000)
                }
            }),
        Case(
            testDescription: "a full disk",
            // Two of four ranks, and both copies while samples change hands.
            text: "ranks 0, 1 (ann): the cache may take 900.0 kB at /home, of which 800.0 kB are free",
            remedy: "free some, or name a directory on a larger disk as cache.directory",
            damage: {
                $0.needs?.cacheBytes = 900_000
                for rank in 0..<2 {
                    $0.details[rank].disk = FileSystem(place: "/home", name: "ext4", freeBytes: 800_000)
                }
            }),
        Case(
            testDescription: "a budget beyond the memory",
            text:
                "ranks 2, 3 (bob): device.memory_budget_bytes allows 3.0 GB a rank, of 4.0 GB that are free on the "
                + "host", remedy: "lower it to 2000000000, or free memory there",
            damage: { $0.needs?.memoryBudget = .byHost([("bob", 3_000_000_000)]) }),
        Case(
            testDescription: "a clock that is ahead",
            text: "ranks 2, 3 (bob): the clock is 1 min 30 s ahead of rank 0's",
            remedy: "let the network set it (`sudo timedatectl set-ntp true`)",
            damage: { for rank in 2..<4 { $0.details[rank].clockSeconds = 90 } }),
    ]

    @Test("each is found, alone and with its remedy", arguments: cases) func finding(item: Case) {
        var cluster = Cluster()
        item.damage(&cluster)
        let report = cluster.report
        #expect(report.findings == [Finding(item.severity, item.text, remedy: item.remedy)])
        #expect(report.verdict == (item.severity == .problem ? .notFit : .fitWithWarnings))
        #expect(report.text.contains("\(item.severity.rawValue): \(item.text).\n    → \(item.remedy)."))
    }

    @Test("a healthy cluster is fit, and so is one rank alone") func healthy() {
        let report = Cluster().report
        #expect(report.findings == [] && report.verdict == .fit)
        #expect(report.text.hasSuffix("\n\nverdict: fit"))
        #expect(report.text.contains("   2  bob   eth0 10.0.0.2      2  4.0 GB"))
        #expect(report.text.contains("rank 0: train.jsonl dd\nranks 1-3: train.jsonl is not there"))
        // 110 MB/s, 0.2 ms.
        #expect(report.text.contains("\n1  0.200      ·    110  110\n"), "\(report.text)")

        var alone = Cluster()
        alone.identities = [alone.identities[0]]
        alone.details = [alone.details[0]]
        alone.details[0].routes = []
        alone.details[0].interfaces.append(Self.docker)
        (alone.links, alone.environment, alone.needs) = ([], [:], nil)
        #expect(alone.report.findings == [])
    }

    @Test("what is harmless is not told") func harmless() {
        var cluster = Cluster()
        // Named interfaces keep Open MPI off the bridge.
        cluster.environment["OMPI_MCA_btl_tcp_if_include"] = "10.0.0.0/24"
        for rank in 0..<4 { cluster.details[rank].interfaces.append(Self.docker) }
        // mpirun gave each rank a core of its own.
        for rank in 0..<4 {
            cluster.details[rank].processors = [rank % 2]
            cluster.details[rank].description.coreCount = 1
            cluster.details[rank].clockSeconds = rank < 2 ? 0 : -0.9
        }
        cluster.needs?.cacheBytes = 1_000_000
        cluster.needs?.memoryBudget = .everywhere(2_000_000_000)
        #expect(cluster.report.findings == [])
    }

    @Test("problems come first, and one is enough") func order() {
        var cluster = Cluster()
        cluster.environment["OMPI_UNIVERSE_SIZE"] = "1"
        cluster.needs?.failure = "no data"
        let report = cluster.report
        #expect(report.findings.map(\.severity) == [.problem, .warning])
        #expect(report.verdict == .notFit)
        #expect(report.json["problems"]?.array?.count == 1 && report.json["warnings"]?.array?.count == 1)
        #expect(report.json["verdict"]?.string == "not fit")
    }

    @Test(
        "ranks that all believe to be alone",
        arguments: [
            (["PMI_SIZE": "4", "PMI_RANK": "2"], "the mpirun of another MPI (MPICH, for example)", 2),
            (["SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"], "srun", 3),
            (
                ["OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1"],
                "the mpirun of another version of Open MPI", 1
            ),
        ]) func foreignLauncher(variables: [String: String], launcher: String, rank: Int) throws
    {
        let launch = LaunchEnvironment { variables[$0] }
        #expect(launch.rank == rank && launch.processCount == 4)
        let finding = try #require(
            Handshake.foreignLauncher(launch, worldSize: 1, mpiVersion: "Open MPI v4.1.4"))
        #expect(finding.severity == .problem)
        #expect(
            finding.text
                == "expected a world of 4 ranks, as \(launcher) started so many processes, found that each is alone"
        )
        #expect(Handshake.foreignLauncher(launch, worldSize: 4, mpiVersion: "") == nil)
        #expect(
            Handshake.foreignLauncher(LaunchEnvironment { _ in nil }, worldSize: 1, mpiVersion: "") == nil)
    }

    @Test("what ranks tell survives its journey") func journey() throws {
        var details = Cluster().details
        details[1].model = .unusable("missing")
        details[2].model = .notAsked
        details[3].routes[0].interface = nil
        details[3].clockSeconds = -0.25
        for item in details {
            let value = try JSONValue(parsing: Array(item.json.text().utf8), file: "details")
            #expect(try RankDetails(JSONReader(value, file: "details")) == item)
        }
        // A later version may say more of itself.
        let identity = Cluster().identities[0]
        let members = try #require(identity.json.members)
        let later = JSONValue.object(members + [JSONMember(key: "colour", value: "red", line: 0)])
        #expect(try RankIdentity(JSONReader(later, file: "identity")) == identity)
    }
}
