import Plans
import Reporting

extension ClusterReport.Examination {
    /// Interfaces that lead nowhere, and hosts that do not find each other.
    package var network: [Finding] {
        let hosts = identities.map(\.host)
        let names = unique(hosts)
        guard names.count > 1 else { return [] }
        return names.flatMap { host -> [Finding] in
            let own = details[hosts.firstIndex(of: host)!]
            let ways = own.routes.compactMap { route -> Finding? in
                guard let interface = route.interface else {
                    return Finding(
                        .warning,
                        "\(host) knows no way to \(route.host) over the interfaces that Open MPI may use",
                        remedy: "connect both to one network, and name that one in btl_tcp_if_include")
                }
                guard interface.isLoopback || interface.isVirtual else { return nil }
                return Finding(
                    .warning,
                    "\(host) would reach \(route.host) through \(interface.name) (\(interface.address)), which leads "
                        + "to no other computer", remedy: remedy)
            }
            let strays = own.interfaces.filter { $0.isVirtual && !$0.isLoopback }
            guard !selection.isSet, !strays.isEmpty else { return ways }
            let list = strays.map { "\($0.name) (\($0.address))" }.joined(separator: ", ")
            return ways + [
                Finding(
                    .warning,
                    "\(host) has \(list) up, for containers or virtual machines: Open MPI may try to reach other "
                        + "hosts through it, and hang", remedy: remedy)
            ]
        }
    }

    private var remedy: String { "start with `\(Self.interfaceOptions(networks))`" }

    /// Tells mpirun which networks to use.
    package static func interfaceOptions(_ networks: [String]) -> String {
        let list = networks.isEmpty ? "NETWORK/BITS" : networks.joined(separator: ",")
        return "mpirun --mca btl_tcp_if_include \(list) --mca oob_tcp_if_include \(list) ..."
    }

    /// Those through which hosts reach each other.
    private var networks: [String] {
        unique(
            details.flatMap { $0.routes.compactMap(\.interface) }.filter { !$0.isLoopback && !$0.isVirtual }
                .map(\.network))
    }

    var slowLinks: [Finding] {
        let hosts = identities.map(\.host)
        // One finding for two hosts, however many ranks they have.
        var seen: [[String]] = []
        return links.compactMap { link in
            let ends = [hosts[link.ranks.0], hosts[link.ranks.1]]
            guard ends[0] != ends[1], link.bandwidth < Self.slowLink, !seen.contains(ends.sorted()) else {
                return nil
            }
            seen.append(ends.sorted())
            return Finding(
                .warning,
                "\(ends[0]) and \(ends[1]) exchange \(Format.bytes(Int(link.bandwidth)))/s, less than a wire of "
                    + "100 Mbit/s carries",
                remedy: "use a cable of 1 Gbit/s in place of Wi-Fi, or look for a bad cable or port")
        }
    }
}
