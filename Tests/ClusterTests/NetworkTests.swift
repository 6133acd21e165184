import Cluster
import Testing

/// Which interface leads to another host.
@Suite struct NetworkTests {
    private static let loopback = NetworkInterface(name: "lo", address: "127.0.0.1", prefixLength: 8)
    private static let docker = NetworkInterface(name: "docker0", address: "172.17.0.1", prefixLength: 16)

    private static func interface(_ name: String, _ address: String, _ length: Int = 24) -> NetworkInterface {
        NetworkInterface(name: name, address: address, prefixLength: length)
    }

    @Test(
        "networks of addresses",
        arguments: [
            ("192.168.1.77", 24, "192.168.1.0/24"), ("192.168.1.77", 32, "192.168.1.77/32"),
            ("10.88.255.255", 12, "10.80.0.0/12"), ("200.1.2.3", 0, "0.0.0.0/0"),
        ]) func networks(address: String, length: Int, network: String)
    {
        #expect(Self.interface("eth0", address, length).network == network)
    }

    @Test("neighbours share a network") func neighbours() {
        #expect(Self.interface("eth0", "192.168.1.77").reaches("192.168.1.200"))
        #expect(!Self.interface("eth0", "192.168.1.77").reaches("192.168.2.77"))
        #expect(Self.interface("eth0", "192.168.1.77", 16).reaches("192.168.2.77"))
        #expect(!Self.interface("eth0", "192.168.1.77").reaches("somewhere"))
    }

    @Test(
        "bridges of containers are told from real interfaces by name",
        arguments: [
            ("docker0", true), ("br-1a2b3c", true), ("virbr0", true), ("veth12ab", true), ("eth0", false),
            ("br0", false), ("wlan0", false), ("enp3s0", false), ("wg0", false), ("tun0", false),
        ]) func names(name: String, isVirtual: Bool)
    {
        #expect(Self.interface(name, "10.0.0.1").isVirtual == isVirtual)
    }

    /// The kernel of "ann": its own network and the default way out through Wi-Fi; the container bridge of bob has the
    /// address of ann's own.
    @Test("the kernel's way is taken, to an address that the hosts share a network with") func routes() {
        let ann = [
            Self.loopback, Self.docker, Self.interface("wlan0", "192.168.1.5"),
            Self.interface("eth0", "10.0.0.1"),
        ]
        let bob = [Self.docker, Self.interface("eth1", "172.20.0.9"), Self.interface("eth0", "10.0.0.2")]
        let eve = [Self.loopback]
        func kernel(_ address: String) -> String? {
            address.hasPrefix("10.0.0.")
                ? "10.0.0.1"
                : address.hasPrefix("172.17.")
                    ? "172.17.0.1"
                    : address.hasPrefix("127.") ? "127.0.0.1" : "192.168.1.5"
        }
        func find(_ selection: InterfaceSelection) -> [String?] {
            NetworkRoute.find(
                own: "ann", [("ann", ann), ("bob", bob), ("eve", eve)], selection, localAddress: kernel
            ).map { $0.interface?.name }
        }
        #expect(find(InterfaceSelection()) == ["eth0", "lo"])
        #expect(find(InterfaceSelection(include: ["172.16.0.0/12"])) == ["wlan0", nil])
        #expect(find(InterfaceSelection(include: ["docker0"])) == ["docker0", nil])
        #expect(find(InterfaceSelection(exclude: ["lo", "10.0.0.0/8", "eth1"])) == ["docker0", nil])
    }

    @Test("Open MPI's settings, by name and by network") func selection() {
        let variables = ["OMPI_MCA_btl_tcp_if_include": "eth0,192.168.0.0/16"]
        let chosen = InterfaceSelection { variables[$0] }
        #expect(chosen.isSet && !InterfaceSelection { _ in nil }.isSet)
        #expect(chosen.allows(Self.interface("eth0", "10.0.0.1")))
        #expect(chosen.allows(Self.interface("wlan0", "192.168.7.1")))
        #expect(!chosen.allows(Self.docker))
        #expect(InterfaceSelection().allows(Self.docker))
    }

    @Test("this host has a loopback") func thisHost() throws {
        #expect(try NetworkInterface.all().contains { $0.isLoopback && $0.network == "127.0.0.0/8" })
    }
}
