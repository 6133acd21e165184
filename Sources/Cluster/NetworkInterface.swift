import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A network interface that is up, with one of its IPv4 addresses.
package struct NetworkInterface: Sendable, Equatable {
    package var name: String
    /// "192.168.1.10".
    package var address: String
    /// Bits of the address that name its network.
    package var prefixLength: Int

    package init(name: String, address: String, prefixLength: Int) {
        self.name = name
        self.address = address
        self.prefixLength = prefixLength
    }

    /// "192.168.1.0/24".
    package var network: String {
        let bits = Self.number(address)! & Self.mask(prefixLength)
        return [24, 16, 8, 0].map { "\(bits >> $0 & 0xFF)" }.joined(separator: ".") + "/\(prefixLength)"
    }

    package var isLoopback: Bool { address.hasPrefix("127.") }

    /// Whether it leads to containers or virtual machines of its own host only, by its name. Tunnels (wg0, tun0) are none of
    /// these: they lead to other hosts.
    package var isVirtual: Bool {
        Self.virtualNames.contains { name.hasPrefix($0) }
    }

    private static let virtualNames = [
        "docker", "virbr", "veth", "br-", "lxcbr", "lxdbr", "cni", "podman", "flannel", "cali", "vmnet",
        "vboxnet",
    ]

    /// Whether an address lies in this interface's network.
    package func reaches(_ other: String) -> Bool { Self.contains("\(address)/\(prefixLength)", other) }

    /// Whether an address lies in a network such as "192.168.1.0/24"; false where either is none.
    package static func contains(_ network: some StringProtocol, _ address: String) -> Bool {
        let parts = network.split(separator: "/")
        guard parts.count == 2, let base = number(String(parts[0])), let length = Int(parts[1]),
            (0...32).contains(length), let number = number(address)
        else { return false }
        return (base ^ number) & mask(length) == 0
    }

    private static func mask(_ length: Int) -> UInt32 {
        length == 0 ? 0 : UInt32.max << UInt32(32 - length)
    }

    private static func number(_ address: String) -> UInt32? {
        let bytes = address.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        guard bytes.count == 4, !bytes.contains(nil) else { return nil }
        return bytes.reduce(0) { $0 << 8 | UInt32($1!) }
    }
}

extension NetworkInterface {
    /// All of this host. Not collective.
    ///
    /// - Throws: what the system says.
    package static func all() throws -> [NetworkInterface] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else {
            throw Failure.run("the network interfaces cannot be listed: \(systemReason())")
        }
        defer { freeifaddrs(list) }
        var interfaces: [NetworkInterface] = []
        var next = list
        while let entry = next?.pointee {
            next = entry.ifa_next
            guard entry.ifa_flags & UInt32(IFF_UP) != 0, let address = ipv4(entry.ifa_addr),
                let mask = ipv4(entry.ifa_netmask).flatMap(number)
            else { continue }
            interfaces.append(
                NetworkInterface(
                    name: String(cString: entry.ifa_name), address: address,
                    prefixLength: mask.nonzeroBitCount))
        }
        return interfaces
    }

    /// The address from which this host would send to another; nil where it knows no way. Nothing is sent: connecting a
    /// datagram socket only asks the kernel for the route.
    package static func localAddress(towards address: String) -> String? {
        #if canImport(Glibc)
            let datagram = Int32(SOCK_DGRAM.rawValue)
        #else
            let datagram = SOCK_DGRAM
        #endif
        let descriptor = socket(AF_INET, datagram, 0)
        guard descriptor >= 0, let number = number(address) else { return nil }
        defer { close(descriptor) }
        var peer = sockaddr_in()
        peer.sin_family = sa_family_t(AF_INET)
        // The discard service; the port has no say in the route.
        peer.sin_port = UInt16(9).bigEndian
        peer.sin_addr.s_addr = number.bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafeMutablePointer(to: &peer) { peer in
            peer.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
                guard connect(descriptor, peer, length) == 0, getsockname(descriptor, peer, &length) == 0
                else {
                    return nil
                }
                return ipv4(peer)
            }
        }
    }

    private static func ipv4(_ address: UnsafeMutablePointer<sockaddr>?) -> String? {
        guard let address, address.pointee.sa_family == sa_family_t(AF_INET) else { return nil }
        return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
            let bits = UInt32(bigEndian: $0.pointee.sin_addr.s_addr)
            return [24, 16, 8, 0].map { "\(bits >> $0 & 0xFF)" }.joined(separator: ".")
        }
    }
}
