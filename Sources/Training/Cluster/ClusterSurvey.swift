import MPI
import Models
import Plans
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Asks all ranks about themselves and measures what lies between them, for `doctor`.
public enum ClusterSurvey {
    /// Longer than any of its exchanges takes between hosts that reach each other.
    private static let waitLimit = WaitLimit(seconds: 60)

    /// Makes the report. Collective over the world.
    ///
    /// - Parameter experimentPath: an experiment to examine the cluster for, read on rank 0.
    /// - Returns: the verdict on every rank, the report on rank 0.
    /// - Throws: a configuration failure for an experiment that is wrong in itself; a run failure when messages do not
    ///   arrive.
    public static func run(
        _ world: consuming Communicator, experimentPath: String?, overrides: [String]
    ) throws -> (verdict: ClusterReport.Verdict, report: ClusterReport?) {
        var world = world
        let standard = world.waitLimit
        world.waitLimit = waitLimit
        do {
            let identities = try Handshake.gather(world)
            // What only some ranks would answer is not asked: ranks that are too different stop here, each by itself.
            guard Handshake.disagreements(identities).isEmpty else {
                let report = Self.report(identities)
                return (report.verdict, world.rank == 0 ? report : nil)
            }
            let experiment = try experimentPath.map { try read($0, overrides, world) }
            let gathered = try gather(identities, experiment, world)
            // Tokenizing a large data set takes its time.
            world.waitLimit = standard
            var result: ClusterReport?
            let verdict = try world.fromRoot {
                let (details, links) = try decode(gathered!)
                let asked = try experiment.map { try needs($0, details[0]) }
                result = report(identities, details, links, asked)
                return Array(result!.verdict.rawValue.utf8)
            }
            return (ClusterReport.Verdict(rawValue: String(decoding: verdict, as: UTF8.self))!, result)
        } catch let failure as Failure where !failure.isShared {
            // Where nothing comes through, all ranks find out at once, and rank 0's word is enough.
            if world.rank > 0 { sleep(2) }
            throw Failure.run(failure.message + (try adviceOnNetwork()))
        }
    }

    private static func report(
        _ identities: [RankIdentity], _ details: [RankDetails] = [], _ links: [LinkProfile] = [],
        _ needs: ClusterReport.Needs? = nil
    ) -> ClusterReport {
        ClusterReport(
            identities: identities, details: details, links: links, launch: LaunchEnvironment(environment),
            selection: InterfaceSelection(environment), needs: needs)
    }

    private static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

    /// Measures, and brings what each rank knows to rank 0. Collective.
    private static func gather(
        _ identities: [RankIdentity], _ experiment: Experiment?, _ world: borrowing Communicator
    ) throws -> [[UInt8]]? {
        try experiment?.device.threads.start(world)
        var own = try world.agree { try RankDetails.current(experiment) }
        own.routes = try routes(own.interfaces, identities, world)
        own.clockSeconds = 0 - (try ClockExchange.difference(world) { WallClock.seconds })
        let links = try LinkProbe.measure(world)
        return try world.gather(
            Array(
                JSONValue.dictionary([("details", own.json), ("links", .array(links.map(\.json)))]).text()
                    .utf8))
    }

    private static func decode(_ gathered: [[UInt8]]) throws -> ([RankDetails], [LinkProfile]) {
        var (details, links): ([RankDetails], [LinkProfile]) = ([], [])
        for (rank, bytes) in gathered.enumerated() {
            let file = "report of rank \(rank)"
            let object = try JSONReader(JSONValue(parsing: bytes, file: file), file: file).object()
            details.append(try RankDetails(object.required("details")))
            links += try object.required("links").array().map { try LinkProfile($0) }
        }
        return (details, links)
    }

    /// The experiment, as rank 0 reads it. Collective.
    private static func read(
        _ path: String, _ overrides: [String], _ world: borrowing Communicator
    ) throws -> Experiment {
        let bytes = try world.fromRoot {
            Array(try Experiment(contentsOf: path, overrides: overrides).json.text().utf8)
        }
        return try Experiment(JSONReader(JSONValue(parsing: bytes, file: path), file: path, line: 0))
    }

    /// This host's ways to all others. Collective.
    private static func routes(
        _ interfaces: [NetworkInterface], _ identities: [RankIdentity],
        _ world: borrowing Communicator
    ) throws -> [NetworkRoute] {
        let all = try world.allGather(Array(JSONValue.array(interfaces.map(\.json)).text().utf8))
        let byRank = try all.map { bytes in
            try JSONReader(JSONValue(parsing: bytes, file: "interfaces"), file: "interfaces").array().map {
                try NetworkInterface($0)
            }
        }
        let hosts = identities.map(\.host)
        return NetworkRoute.find(
            own: hosts[world.rank],
            unique(hosts).map { ($0, byRank[hosts.firstIndex(of: $0)!]) }, InterfaceSelection(environment),
            localAddress: NetworkInterface.localAddress)
    }

    /// What an experiment asks for, as rank 0 finds by preparing its data.
    private static func needs(_ experiment: Experiment, _ details: RankDetails) throws -> ClusterReport.Needs
    {
        var needs = ClusterReport.Needs(
            memoryBudget: experiment.device.memoryBudget,
            dataPaths: [experiment.task.train] + (experiment.task.validation.map { [$0] } ?? []))
        // A model that cannot be used is told of elsewhere.
        guard case .fingerprint = details.model else { return needs }
        do {
            let model = try ModelFiles(experiment.model)
            let data = try PreparedData(experiment, model, .trainAndValidation)
            needs.cacheBytes = try cacheBytes(
                experiment, model.family, try PreparedData.Received(data.serialized()))
        } catch let failure as Failure {
            needs.failure = failure.message
        }
        return needs
    }

    /// Bytes of the activations that a run keeps on all ranks together; nil when it keeps none.
    private static func cacheBytes(
        _ experiment: Experiment, _ family: any ModelFamily, _ data: PreparedData.Received
    ) throws -> Int? {
        guard let technique = experiment.technique as? ParallelAdapters,
            experiment.fillsCache(sampleCount: data.train?.count)
        else { return nil }
        let shape = try CacheShape(
            family, technique, steps: family.steps(of: 0..<family.plannerLayers.count))
        let datasets = [data.train, data.validatesByWriting ? nil : data.validation].compactMap { $0 }
        return try datasets.reduce(0) { sum, dataset in
            let builder = try BatchBuilder(dataset, family, head: data.headKind)
            return (0..<dataset.count).reduce(sum) { sum, sample in
                sum + shape.floatCount { builder.tokenCount(sample, $0) }
                    * experiment.cache.precision.byteCount
            }
        }
    }

    /// What to look at when a message did not arrive.
    private static func adviceOnNetwork() throws -> String {
        let interfaces = try NetworkInterface.all().filter { !$0.isLoopback }
        let list = interfaces.map { "\($0.name) \($0.address)/\($0.prefixLength)" }.joined(separator: ", ")
        let networks = interfaces.filter { !$0.isVirtual }.map(\.network)
        return
            ". This host has \(list): let firewalls pass what comes from the other hosts, and name the network "
            + "that all share: `\(ClusterReport.Examination.interfaceOptions(networks))`"
    }
}
