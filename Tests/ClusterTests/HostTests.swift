import Cluster
import Support
import Testing

/// What a rank tells of its host: limits, memory, processors.
@Suite struct HostTests {
    private static let files = [
        "/sys/fs/cgroup/cpu.max": "max 100000\n",
        "/sys/fs/cgroup/home/cpu.max": "150000 100000\n",
        "/sys/fs/cgroup/home/app/cpu.max": "400000 100000\n",
        "/sys/fs/cgroup/home/memory.max": "max\n",
        "/sys/fs/cgroup/home/app/memory.max": "536870912\n",
        "/sys/fs/cgroup/home/app/memory.current": "400000000\n",
        "/sys/fs/cgroup/home/app/memory.stat":
            "anon 300000000\nactive_file 30000000\ninactive_file 70000000\n",
        "/cg/cpu/pi/cpu.cfs_quota_us": "20000\n",
        "/cg/cpu/pi/cpu.cfs_period_us": "100000\n",
        "/cg/cpu/cpu.cfs_quota_us": "-1\n",
        "/cg/cpu/cpu.cfs_period_us": "100000\n",
        "/cg/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "/cg/memory/pi/memory.limit_in_bytes": "268435456\n",
        "/cg/memory/pi/memory.usage_in_bytes": "200000000\n",
        "/cg/memory/pi/memory.stat":
            "inactive_file 1\ntotal_inactive_file 40000000\ntotal_active_file 10000000\n",
    ]

    /// Version 2, as on a current Linux: the tightest limit on the way to the root holds.
    @Test func unifiedGroups() {
        let groups = ControlGroups(
            membership: "0::/home/app\n",
            mounts: "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n")
        #expect(
            groups.folders.unified
                == ["/sys/fs/cgroup/home/app", "/sys/fs/cgroup/home", "/sys/fs/cgroup"])
        #expect(groups.processorLimit { Self.files[$0] } == 1.5)
        #expect(groups.availableMemory { Self.files[$0] } == 536_870_912 - 300_000_000)
    }

    /// Version 1: one hierarchy for each controller, some of them shared.
    @Test func separateGroups() {
        let groups = ControlGroups(
            membership: "4:memory:/pi\n2:cpu,cpuacct:/pi\n1:name=systemd:/user:1\n0::/\n",
            mounts: """
                30 23 0:27 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct
                31 23 0:28 / /cg/memory rw shared:9 master:2 - cgroup cgroup rw,memory
                32 23 0:29 / /cg/unified rw - cgroup2 cgroup2 rw
                33 23 8:1 / / rw - ext4 /dev/sda1 rw
                """)
        #expect(groups.folders.processor == ["/cg/cpu/pi", "/cg/cpu"])
        #expect(groups.folders.memory == ["/cg/memory/pi", "/cg/memory"])
        #expect(groups.folders.unified == ["/cg/unified"])
        #expect(groups.processorLimit { Self.files[$0] } == 0.2)
        #expect(groups.availableMemory { Self.files[$0] } == 268_435_456 - 150_000_000)
    }

    /// In a container only its own group is mounted; its path is told with or without what lies outside.
    @Test func groupsOfContainers() {
        let mounts = "31 23 0:28 /docker/abc /cg/memory ro - cgroup cgroup rw,memory\n"
        #expect(
            ControlGroups(membership: "4:memory:/docker/abc\n", mounts: mounts).folders.memory == [
                "/cg/memory"
            ])
        #expect(
            ControlGroups(membership: "4:memory:/docker/abc/pi\n", mounts: mounts).folders.memory
                == ["/cg/memory/pi", "/cg/memory"])
        #expect(
            ControlGroups(membership: "4:memory:/elsewhere\n", mounts: mounts).folders.memory == [
                "/cg/memory"
            ])
    }

    @Test func noGroupsNoLimits() {
        let groups = ControlGroups(membership: "", mounts: "")
        #expect(groups.processorLimit { _ in "1 1" } == nil)
        #expect(groups.availableMemory { _ in "1" } == nil)
        let unlimited = ControlGroups(
            membership: "0::/\n", mounts: "1 2 0:3 / /sys/fs/cgroup rw - cgroup2 none rw\n")
        #expect(unlimited.processorLimit { Self.files[$0] } == nil)
        #expect(unlimited.availableMemory { Self.files[$0] } == nil)
    }

    @Test func memoryInformation() throws {
        let text = "MemTotal:       24000000 kB\nMemFree:          100 kB\nMemAvailable:   23250304 kB\n"
        let memory = try MemoryInformation(text, file: "/proc/meminfo")
        #expect(memory.totalBytes == 24_000_000 * 1024)
        #expect(memory.availableBytes == 23_250_304 * 1024)
        #expect(
            throws: Failure.run("/proc/meminfo: expected a line \"MemAvailable: NUMBER kB\", found none")
        ) {
            try MemoryInformation("MemTotal: 1 kB\nMemAvailableX: 2 kB\n", file: "/proc/meminfo")
        }
    }

    @Test(arguments: [
        ("0", [0]), ("0-1", [0, 1]), ("0-3,6,8-9", [0, 1, 2, 3, 6, 8, 9]), ("4,12-12", [4, 12]),
    ])
    func processors(list: String, numbers: [Int]) throws {
        let text = "Cpus_allowed:\tff\nCpus_allowed_list:\t\(list)\nMems_allowed_list:\t0-7\n"
        #expect(try allowedProcessors(text, file: "status") == numbers)
    }

    @Test(arguments: ["", "Cpus_allowed_list:\t\n", "Cpus_allowed_list:\t3-1\n", "Cpus_allowed_list:\t1,x\n"])
    func unreadableProcessorsAreAnError(text: String) {
        #expect(throws: Failure.run("status: expected a line \"Cpus_allowed_list: NUMBERS\", found none")) {
            try allowedProcessors(text, file: "status")
        }
    }

    @Test func processorFeatures() {
        let flags = processorFlags(
            "processor\t: 0\nflags\t\t: fpu avx2 avx512f\n\nprocessor\t: 1\nflags\t\t: fpu\n")
        #expect(flags == ["fpu", "avx2", "avx512f"])
        #expect(processorFlags("Features\t: fp asimd\n") == [])
    }

    private static func host(
        _ core: String, override: String? = nil, avx512: Bool = true, threads: Int = 1,
        cores: Int = 4
    ) -> HostDescription {
        HostDescription(
            host: "pi", coreCount: cores, launcherCoreCount: 4, threadCount: threads,
            availableMemoryBytes: 1 << 30,
            totalMemoryBytes: 1 << 31,
            blasCore: core,
            blasCoreOverride: override, hasAVX512: avx512)
    }

    @Test func descriptionsSurviveJSON() throws {
        for description in [Self.host("Haswell", override: "Zen"), Self.host("ARMV8", avx512: false)] {
            let text = description.json.text(indented: true)
            let value = try JSONValue(parsing: Array(text.utf8), file: "host.json")
            #expect(try HostDescription(JSONReader(value, file: "host.json")) == description)
        }
    }

    @Test func healthyHostsHaveNoWarnings() {
        #expect(HostDescription.warnings([]) == [])
        #expect(HostDescription.warnings([Self.host("Cooperlake"), Self.host("Cooperlake")]) == [])
        #expect(HostDescription.warnings([Self.host("Haswell", avx512: false)]) == [])
    }

    @Test func warningsNameCauseAndRanks() {
        let hosts = [
            Self.host("Haswell", override: "Haswell"), Self.host("SkylakeX"),
            Self.host("Haswell", override: "Haswell", threads: 5),
        ]
        #expect(
            HostDescription.warnings(hosts) == [
                "ranks 0, 2: OPENBLAS_CORETYPE is set to \"Haswell\": OpenBLAS uses its Haswell kernels without asking "
                    + "the processor",
                "ranks 0, 2: OpenBLAS uses its Haswell kernels on a processor with AVX-512, where matrix products could "
                    + "be up to twice as fast",
                "rank 2: 5 threads (device.threads) have 4 cores",
                "OpenBLAS kernels differ (Haswell on ranks 0, 2, SkylakeX on rank 1): ranks round differently, so "
                    + "results depend on which rank computes what",
            ])
    }

    @Test func boundRanksAreToldOfIdleCores() {
        let bound = Self.host("Zen", avx512: false, cores: 1)
        #expect(
            HostDescription.warnings([bound, bound]) == [
                "ranks 0, 1: bound by mpirun to 1 of 4 cores, which leaves 2 idle (mpirun --bind-to none)"
            ])
        #expect(HostDescription.warnings([bound, bound, bound, bound]) == [])
    }
}
