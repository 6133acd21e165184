import Support

/// Devices and the network between them, described rather than measured: what a simulation runs on.
package struct SimulatedCluster: Sendable, Equatable {
    /// One device. Ranks are the devices in the order of the file.
    package struct Device: Sendable, Equatable {
        /// The name in the file; devices of one entry with a count share it.
        package var name: String
        /// Floating-point operations that it achieves in a second in large matrix products, not its peak.
        package var flops: Double
        /// u_d of eq. (3): bytes that training may use; nil for no limit.
        package var memoryBudgetBytes: Int?
        /// Bytes per second between processor and memory.
        package var memoryBandwidth: Double
        /// Seconds that one pass of one layer costs whatever its size.
        package var launchOverheadSeconds: Double
        /// The share of `flops` that the narrow matrices of a side network reach.
        package var sideEfficiency: Double

        package init(
            name: String, flops: Double, memoryBudgetBytes: Int?, memoryBandwidth: Double,
            launchOverheadSeconds: Double = 0, sideEfficiency: Double = 1
        ) {
            self.name = name
            self.flops = flops
            self.memoryBudgetBytes = memoryBudgetBytes
            self.memoryBandwidth = memoryBandwidth
            self.launchOverheadSeconds = launchOverheadSeconds
            self.sideEfficiency = sideEfficiency
        }
    }

    /// How fast bytes move between two devices.
    package struct Link: Sendable, Equatable {
        /// Bytes per second, in each direction.
        package var bandwidth: Double
        package var latencySeconds: Double

        package init(bandwidth: Double, latencySeconds: Double) {
            self.bandwidth = bandwidth
            self.latencySeconds = latencySeconds
        }

        /// Seconds to move some bytes.
        package func seconds(bytes: Double) -> Double { latencySeconds + bytes / bandwidth }
    }

    package let devices: [Device]
    /// Between devices for which the file names no link of their own.
    package let commonLink: Link
    private let exceptions: [NamePair: Link]

    private struct NamePair: Hashable {
        let low: String
        let high: String

        init(_ a: String, _ b: String) {
            (low, high) = a.utf8.lexicographicallyPrecedes(b.utf8) ? (a, b) : (b, a)
        }
    }

    /// - Parameter exceptions: links between all devices of one name and all of another, or of the same.
    package init(
        devices: [Device], commonLink: Link, exceptions: [(between: (String, String), link: Link)] = []
    ) {
        precondition(!devices.isEmpty, "a cluster has a device")
        self.devices = devices
        self.commonLink = commonLink
        self.exceptions = Dictionary(
            exceptions.map { (NamePair($0.between.0, $0.between.1), $0.link) }, uniquingKeysWith: { $1 })
    }

    /// The link between two devices, by rank.
    package func link(_ a: Int, _ b: Int) -> Link {
        exceptions.isEmpty
            ? commonLink : exceptions[NamePair(devices[a].name, devices[b].name)] ?? commonLink
    }

    /// The first devices of this cluster.
    ///
    /// - Throws: a configuration failure when it has fewer.
    package func prefix(_ count: Int) throws -> SimulatedCluster {
        guard (1...devices.count).contains(count) else {
            throw Failure.configuration(
                "cluster: expected 1 to \(devices.count) devices, as the cluster has \(devices.count), found \(count)"
            )
        }
        return SimulatedCluster(copying: self, devices: Array(devices.prefix(count)))
    }

    /// The same cluster under another budget for every device.
    package func with(memoryBudgetBytes: (Device) -> Int?) -> SimulatedCluster {
        SimulatedCluster(
            copying: self,
            devices: devices.map {
                var device = $0
                device.memoryBudgetBytes = memoryBudgetBytes($0)
                return device
            })
    }

    private init(copying other: SimulatedCluster, devices: [Device]) {
        self.devices = devices
        (commonLink, exceptions) = (other.commonLink, other.exceptions)
    }
}

extension SimulatedCluster {
    /// Reads a cluster file, strictly.
    ///
    /// - Throws: a configuration failure that names file, line, key path, what was expected and what was
    ///   found: for an unknown key, no device, a rate or budget of zero, two entries of one name, or a link
    ///   that names no device or a pair twice.
    package init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["devices", "network"])
        let devicesReader = try object.required("devices")
        var devices: [Device] = []
        var names: [String] = []
        for entry in try devicesReader.array() {
            let (device, count, nameReader) = try Device.read(entry)
            guard !names.contains(device.name) else {
                throw nameReader.failure(expected: "a name of its own for each entry")
            }
            names.append(device.name)
            devices += Array(repeating: device, count: count)
        }
        guard !devices.isEmpty else { throw devicesReader.failure(expected: "at least one device") }
        guard devices.count <= Self.largestCount else {
            throw Failure.configuration(
                "\(devicesReader.place): expected at most \(Self.largestCount) devices, found \(devices.count)"
            )
        }
        let network = try object.required("network").object(keys: ["bandwidth", "latency_seconds", "links"])
        let common = Link(
            bandwidth: try network.required("bandwidth").rate("bytes per second"),
            latencySeconds: try network.optional("latency_seconds")?.seconds() ?? 0)
        var links: [(between: (String, String), link: Link)] = []
        var pairs: Set<NamePair> = []
        for entry in try network.optional("links")?.array() ?? [] {
            let object = try entry.object(keys: ["between", "bandwidth", "latency_seconds"])
            let ends = try object.required("between")
            let found = try ends.array().map { end in
                let name = try end.string()
                guard names.contains(name) else {
                    let nearest =
                        JSONReader.nearest(to: name, among: names).map { "; did you mean \"\($0)\"?" } ?? ""
                    throw end.failure(expected: "the name of a device of this file\(nearest)")
                }
                return name
            }
            guard found.count == 2 else { throw ends.failure(expected: "two names of devices") }
            guard pairs.insert(NamePair(found[0], found[1])).inserted else {
                throw ends.failure(expected: "every pair of names once")
            }
            if found[0] == found[1], devices.count(where: { $0.name == found[0] }) < 2 {
                throw ends.failure(expected: "two devices: there is one \"\(found[0])\" only")
            }
            links.append(
                (
                    (found[0], found[1]),
                    Link(
                        bandwidth: try object.required("bandwidth").rate("bytes per second"),
                        latencySeconds: try object.optional("latency_seconds")?.seconds()
                            ?? common.latencySeconds)
                ))
        }
        self.init(devices: devices, commonLink: common, exceptions: links)
    }

    private static let largestCount = 4096
}

extension SimulatedCluster.Device {
    fileprivate static func read(_ reader: JSONReader) throws -> (
        SimulatedCluster.Device, count: Int, name: JSONReader
    ) {
        let object = try reader.object(keys: [
            "name", "count", "flops", "memory_budget_bytes", "memory_bandwidth", "launch_overhead_seconds",
            "side_efficiency",
        ])
        let name = try object.required("name")
        let efficiencyReader = object.optional("side_efficiency")
        let efficiency = try efficiencyReader?.number(in: 0...1) ?? 1
        guard efficiency > 0 else { throw efficiencyReader!.failure(expected: "a share above 0, up to 1") }
        let budget = object.optional("memory_budget_bytes")
        let device = SimulatedCluster.Device(
            name: try name.string(), flops: try object.required("flops").rate("operations per second"),
            memoryBudgetBytes: try budget?.integer(in: 1...1 << 50),
            memoryBandwidth: try object.required("memory_bandwidth").rate("bytes per second"),
            launchOverheadSeconds: try object.optional("launch_overhead_seconds")?.seconds() ?? 0,
            sideEfficiency: efficiency)
        return (device, try object.optional("count")?.integer(in: 1...4096) ?? 1, name)
    }
}

extension JSONReader {
    /// A rate above 0.
    fileprivate func rate(_ unit: String) throws -> Double {
        guard let number = value.number, number > 0 else { throw failure(expected: "\(unit) above 0") }
        return number
    }
}
