/// The way from one host to another.
package struct NetworkRoute: Sendable, Equatable {
    /// The other host.
    package var host: String
    /// This host's interface; nil where there is no way.
    package var interface: NetworkInterface?

    package init(host: String, interface: NetworkInterface?) {
        self.host = host
        self.interface = interface
    }

    /// The ways from a host to all others, as its kernel would send, among the interfaces that Open MPI may use.
    ///
    /// - Parameters:
    ///   - interfaces: of each host; `own` is the name of this one.
    ///   - localAddress: the address from which this host sends to another.
    package static func find(
        own: String, _ interfaces: [(host: String, interfaces: [NetworkInterface])],
        _ selection: InterfaceSelection, localAddress: (String) -> String?
    ) -> [NetworkRoute] {
        let ours = interfaces.first { $0.host == own }?.interfaces ?? []
        return interfaces.filter { $0.host != own }.map { peer in
            // A peer's loopback is our own, and so is a network of containers: both last.
            let targets = peer.interfaces.filter { selection.allows($0) }.sorted {
                rank($0) < rank($1)
            }
            let ways = targets.compactMap {
                target -> (target: NetworkInterface, interface: NetworkInterface)? in
                guard let local = localAddress(target.address) else { return nil }
                return ours.first { $0.address == local }.map { (target, $0) }
            }
            // Hosts that share a network talk through it.
            let best = ways.first { rank($0.target) == 0 && $0.interface.reaches($0.target.address) }
            return NetworkRoute(host: peer.host, interface: (best ?? ways.first)?.interface)
        }
    }

    private static func rank(_ interface: NetworkInterface) -> Int {
        interface.isLoopback ? 2 : interface.isVirtual ? 1 : 0
    }
}

/// Which interfaces Open MPI was told to use for messages.
package struct InterfaceSelection: Sendable, Equatable {
    /// Names and networks, as the user wrote them; nil where they are not set.
    package var include: [String]?
    package var exclude: [String]?

    package init(include: [String]? = nil, exclude: [String]? = nil) {
        self.include = include
        self.exclude = exclude
    }

    /// Reads Open MPI's settings from the environment, where mpirun puts what `--mca` says.
    package init(_ environment: (String) -> String?) {
        func list(_ name: String) -> [String]? {
            environment("OMPI_MCA_btl_tcp_if_" + name)?.split(separator: ",").map(String.init)
        }
        include = list("include")
        exclude = list("exclude")
    }

    package var isSet: Bool { include != nil || exclude != nil }

    package func allows(_ interface: NetworkInterface) -> Bool {
        func matches(_ list: [String]) -> Bool {
            list.contains { $0 == interface.name || NetworkInterface.contains($0, interface.address) }
        }
        return include.map(matches) ?? !(exclude.map(matches) ?? false)
    }
}
