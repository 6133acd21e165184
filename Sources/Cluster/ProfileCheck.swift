import Plans
import Support

extension Profile {
    /// Checks that the profile is of the machines that run now, in the order of their ranks.
    ///
    /// - Throws: a configuration failure that names the rank, what was expected and what was found.
    package func check(_ hosts: [HostDescription]) throws {
        guard devices.count == hosts.count else {
            throw Failure.configuration(
                "profile: expected \(hosts.count) devices, one for each rank of this run, found \(devices.count)"
            )
        }
        for (device, host) in zip(devices, hosts) {
            guard device.host == host.host else {
                throw Failure.configuration(
                    "profile: rank \(device.rank): expected \(host.host), which runs it now, found \(device.host)"
                )
            }
            guard device.threadCount == host.threadCount else {
                throw Failure.configuration(
                    "profile: rank \(device.rank) (\(host.host)): expected \(host.threadCount) threads (device.threads), as "
                        + "now, found \(device.threadCount)")
            }
            guard device.blasCore == host.blasCore else {
                throw Failure.configuration(
                    "profile: rank \(device.rank) (\(host.host)): expected the BLAS core type \(host.blasCore), as now, "
                        + "found \(device.blasCore)")
            }
        }
    }
}
