import Configuration
import Plans
import Support

/// What was found out about a cluster, and whether it is fit to train. Pure: `ClusterSurvey` asks the ranks.
package struct ClusterReport: Sendable {
    package enum Verdict: String, Sendable {
        case fit
        case fitWithWarnings = "fit with warnings"
        case notFit = "not fit"
    }

    /// What an experiment asks of the cluster.
    package struct Needs: Sendable {
        /// Bytes that all ranks' caches hold together; nil where nothing is cached.
        package var cacheBytes: Int?
        package var memoryBudget: ByteBudget?
        /// The files behind `RankDetails.dataChecksums`.
        package var dataPaths: [String]
        /// Why rank 0 cannot prepare the experiment.
        package var failure: String?

        package init(
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
    package let identities: [RankIdentity]
    /// Empty where the ranks are too different to ask each other more.
    package let details: [RankDetails]
    /// Of every pair; empty as `details`.
    package let links: [LinkProfile]
    /// What rank 0's environment says of the job and of its network.
    package let launch: LaunchEnvironment
    package let selection: InterfaceSelection
    /// nil without an experiment.
    package let needs: Needs?
    /// What is wrong, problems first.
    package let findings: [Finding]

    package init(
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

    package var verdict: Verdict {
        findings.isEmpty ? .fit : findings[0].severity == .problem ? .notFit : .fitWithWarnings
    }
}
