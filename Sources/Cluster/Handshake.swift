import MPI
import Support

/// The first thing that ranks exchange: whether they are parts of one job at all.
///
/// What rank 0 reads and sends (the experiment, the data) cannot differ, so it is not compared. What each rank brings itself
/// can: the program, its MPI library, its arguments, and later its copy of the model.
package enum Handshake {
    /// Every rank's identity, by rank, on every rank. Collective, and the first collective operation of every command that
    /// has a world: that way even different commands can tell each other apart.
    package static func gather(_ world: borrowing Communicator) throws -> [RankIdentity] {
        let own = try world.agree { try RankIdentity.current() }
        return try world.allGatherJSON(own.json, "identity").map { try RankIdentity($0) }
    }

    /// Ends all ranks unless they are alike. Collective.
    ///
    /// - Throws: a configuration failure, the same on all ranks, that names rank, host, what was expected and found.
    package static func check(_ world: borrowing Communicator) throws {
        let identities = try gather(world)
        let foreign = foreignLauncher(
            .current, worldSize: world.size, mpiVersion: identities[0].mpiVersion)
        try require(foreign.map { [$0] } ?? disagreements(identities))
    }

    /// Ends all ranks unless their copies of the model are the same. Collective.
    ///
    /// - Throws: as `check`.
    package static func checkModel(_ fingerprint: String, _ world: borrowing Communicator) throws {
        let host = MPIEnvironment.processorName
        let hosts = try world.allGather(Array(host.utf8)).map { String(decoding: $0, as: UTF8.self) }
        let all = try world.allGather(Array(fingerprint.utf8)).map { String(decoding: $0, as: UTF8.self) }
        try require(modelDisagreements(Array(all.enumerated()).map { ($0.offset, $0.element) }, hosts: hosts))
    }

    private static func require(_ findings: [Finding]) throws {
        guard let finding = findings.first else { return }
        throw Failure.configuration("\(finding.text): \(finding.remedy)").shared
    }

    /// What keeps ranks from understanding each other, the gravest first: byte orders, builds, libraries, arguments.
    ///
    /// Ranks of one processor architecture must run the same file; of another, the same version.
    ///
    /// - Parameter identities: by rank.
    package static func disagreements(_ identities: [RankIdentity]) -> [Finding] {
        guard let first = identities.first else { return [] }
        func order(_ identity: RankIdentity) -> String {
            identity.build.isLittleEndian ? "little-endian" : "big-endian"
        }
        func find(
            _ subject: String, remedy: String, _ compare: (Int, RankIdentity) -> Comparison
        ) -> [Finding] {
            Self.deviations(
                subject, identities.enumerated().map { compare($0.offset, $0.element) },
                hosts: identities.map(\.host), remedy: remedy)
        }
        return find("numbers in the byte order", remedy: "train on processors of one byte order") {
            Comparison(reference: 0, expected: order(first), found: order($1))
        }
            + find(
                "the program",
                remedy: "copy one build to all hosts of that architecture, or build one commit on all"
            ) { rank, own in
                let reference = identities.firstIndex { $0.build.architecture == own.build.architecture }!
                let other = identities[reference].build
                return reference < rank
                    ? Comparison(reference: reference, expected: other.text, found: own.build.text)
                    : Comparison(
                        reference: 0, expected: "version " + first.build.version,
                        found: "version " + own.build.version)
            }
            + find("the MPI library", remedy: "install one version of Open MPI on all hosts") {
                Comparison(reference: 0, expected: first.mpiVersion, found: $1.mpiVersion)
            }
            + find("the arguments", remedy: "start all ranks by one mpirun with one command line") {
                let (expected, found) = Self.firstDifference(first.arguments, $1.arguments)
                return Comparison(reference: 0, expected: expected, found: found)
            }
    }

    /// Several processes, each of which believes to be alone.
    ///
    /// - Returns: nil where the launcher and the library know each other, or one process was started.
    package static func foreignLauncher(
        _ launch: LaunchEnvironment, worldSize: Int, mpiVersion: String
    ) -> Finding? {
        guard launch.isForeign(worldSize: worldSize), let launcher = launch.launcher else { return nil }
        return Finding(
            .problem,
            "expected a world of \(launch.processCount) ranks, as \(launcher) started so many processes, found "
                + "that each is alone",
            remedy: "start them with the mpirun of \(mpiVersion), which this program is linked with "
                + "(`mpirun --version` tells which it is)")
    }

    /// Models that are not the same.
    ///
    /// - Parameters:
    ///   - fingerprints: of the ranks that have a model, the lowest rank first.
    ///   - hosts: of all ranks.
    package static func modelDisagreements(
        _ fingerprints: [(rank: Int, text: String)], hosts: [String]
    ) -> [Finding] {
        guard let first = fingerprints.first else { return [] }
        var comparisons = hosts.map { _ in Comparison(reference: first.rank, expected: "", found: "") }
        for (rank, text) in fingerprints {
            comparisons[rank] = Comparison(reference: first.rank, expected: first.text, found: text)
        }
        return deviations(
            "the model", comparisons, hosts: hosts,
            remedy: "copy the model's directory (model.path) from one host to all others")
    }

    /// What a rank should have, by which other rank, and what it has.
    private struct Comparison: Equatable {
        var reference: Int
        var expected: String
        var found: String
    }

    /// A finding for each deviation and the ranks that share it.
    private static func deviations(
        _ subject: String, _ comparisons: [Comparison], hosts: [String], remedy: String
    ) -> [Finding] {
        unique(comparisons.filter { $0.expected != $0.found }).map { deviation in
            let ranks = comparisons.indices.filter { comparisons[$0] == deviation }
            let reference = rankNames([deviation.reference], hosts: hosts)
            return Finding(
                .problem,
                "\(rankNames(ranks, hosts: hosts)): expected \(subject) of \(reference), \(deviation.expected), "
                    + "found \(deviation.found)", remedy: remedy)
        }
    }

    /// The first arguments that differ, quoted.
    private static func firstDifference(_ expected: [String], _ found: [String]) -> (String, String) {
        func name(_ arguments: [String], _ index: Int) -> String {
            index < arguments.count ? "\"\(arguments[index])\"" : "no more"
        }
        guard
            let index = (0..<max(expected.count, found.count)).first(where: {
                name(expected, $0) != name(found, $0)
            })
        else { return ("", "") }
        return (name(expected, index), name(found, index))
    }
}
