import Plans
import Support

/// What was found out about a cluster, and whether it is fit to train. Pure: `ClusterSurvey` asks the ranks.
public struct ClusterReport: Sendable {
    public enum Verdict: String, Sendable {
        case fit
        case fitWithWarnings = "fit with warnings"
        case notFit = "not fit"
    }

    /// What an experiment asks of the cluster.
    public struct Needs: Sendable {
        /// Bytes that all ranks' caches hold together; nil where nothing is cached.
        public var cacheBytes: Int?
        public var memoryBudget: ByteBudget?
        /// The files behind `RankDetails.dataChecksums`.
        public var dataPaths: [String]
        /// Why rank 0 cannot prepare the experiment.
        public var failure: String?

        public init(
            cacheBytes: Int? = nil, memoryBudget: ByteBudget? = nil, dataPaths: [String] = [],
            failure: String? = nil
        ) {
            self.cacheBytes = cacheBytes
            self.memoryBudget = memoryBudget
            self.dataPaths = dataPaths
            self.failure = failure
        }
    }

    /// By rank, as everything here.
    public let identities: [RankIdentity]
    /// Empty where the ranks are too different to ask each other more.
    public let details: [RankDetails]
    /// Of every pair; empty as `details`.
    public let links: [LinkProfile]
    /// What rank 0's environment says of the job and of its network.
    public let launch: LaunchEnvironment
    public let selection: InterfaceSelection
    /// nil without an experiment.
    public let needs: Needs?
    /// What is wrong, problems first.
    public let findings: [Finding]

    public init(
        identities: [RankIdentity], details: [RankDetails], links: [LinkProfile], launch: LaunchEnvironment,
        selection: InterfaceSelection, needs: Needs?
    ) {
        self.identities = identities
        self.details = details
        self.links = links
        self.launch = launch
        self.selection = selection
        self.needs = needs
        let all = Self.Examination(
            identities: identities, details: details, links: links, launch: launch, selection: selection,
            needs: needs
        ).findings
        findings = all.filter { $0.severity == .problem } + all.filter { $0.severity == .warning }
    }

    public var verdict: Verdict {
        findings.isEmpty ? .fit : findings[0].severity == .problem ? .notFit : .fitWithWarnings
    }
}
