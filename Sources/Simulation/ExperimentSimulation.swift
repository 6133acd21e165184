import Configuration
import Families
import Models
import Plans
import Support
import TextData

/// An experiment on a cluster that need not be there: the plan of its system, and what training would take.
package struct ExperimentSimulation {
    /// What an experiment and a cluster leave open.
    package struct Reading: Sendable, Equatable {
        /// Tokens that a decoder behind an encoder reads of each target.
        package var targetTokens: Int
        /// Samples of the training set; nil for those that the task is known to have, where it is known.
        package var sampleCount: Int?
        /// Above 1, ranks may share out parts of samples, this many a sample.
        package var partsPerSample: Int
        /// Whether an all-reduce needs a bucket beside the gradients.
        package var hasBucket: Bool
        /// Whether the last stage is counted a copy of a tied token table.
        package var copiesTable: Bool

        package init(
            targetTokens: Int = AnalyticConstants.targetTokens, sampleCount: Int? = nil,
            partsPerSample: Int = 1,
            hasBucket: Bool = false, copiesTable: Bool = true
        ) {
            self.targetTokens = targetTokens
            self.sampleCount = sampleCount
            self.partsPerSample = partsPerSample
            self.hasBucket = hasBucket
            self.copiesTable = copiesTable
        }
    }

    package enum Outcome: Sendable {
        case completed(SimulatedRun)
        /// No plan of the system fits the budgets; the reason as a sentence.
        case outOfMemory(reason: String)
    }

    private let experiment: Experiment
    private let cluster: SimulatedCluster
    private let reading: Reading
    private let model: AnalyticModel
    private let profile: Profile
    private let costs: AnalyticCosts
    private let simulator: Simulator

    /// Clusters up to this size are searched by groupings, larger ones by the planner.
    private static let mostDevicesForGroupings = 10

    /// - Throws: a configuration failure when the model's `config.json` is missing or wrong, or the technique
    ///   has no formulas.
    package init(_ experiment: Experiment, cluster: SimulatedCluster, reading: Reading = Reading()) throws {
        self.experiment = experiment
        self.reading = reading
        // A cluster's devices are its hosts.
        self.cluster =
            try experiment.device.memoryBudget.map { budget in
                try budget.check(
                    cluster.devices.map(\.name), key: "device.memory_budget_bytes")
                return cluster.with { budget.bytes(onHost: $0.name) }
            } ?? cluster
        let family = try readModelFamily(directory: experiment.model.path)
        let shape = try ModelShape(family)
        let crosses = shape.stacks.count > 1
        model = AnalyticModel(
            shape: shape, tuning: try TuningShape(experiment.technique, family),
            tokens: TokenCounts(
                source: Double(experiment.task.maximumSequenceLength),
                target: crosses ? Double(reading.targetTokens) : 0),
            hasDropout: (experiment.training.dropout ?? family.dropout) > 0, copiesTable: reading.copiesTable)
        profile = try model.profile(on: self.cluster, unitsPerSample: reading.partsPerSample)
        costs = AnalyticCosts(
            profile: profile, cluster: self.cluster,
            memory: TrainingMemory(
                optimizerMultiple: experiment.training.optimizer == .adamw ? 2 : 0,
                bucketMultiple: reading.hasBucket ? 1 : 0, tiedBytes: model.tiedBytes,
                isTableTrained: model.tuning == .full))
        simulator = Simulator(profile: profile, costs: costs, schedule: experiment.pipelineSchedule)
    }

    /// Finds the plan of the experiment's system and simulates it.
    ///
    /// PAC on a small cluster takes the grouping whose simulated step is shortest. Eco-FL cuts the mini-batch
    /// into rounds that run after each other when no micro-batch fits otherwise.
    package func run() throws -> Outcome {
        let count = cluster.devices.count
        switch experiment.parallelism.system {
        case .standalone: return try search([[1]])
        case .eddl: return try search([[count]])
        case .ecoFL: return try search([Array(repeating: 1, count: count)], mayCutRounds: true)
        case .plan:
            var plan = try experiment.plan(from: nil)
            try plan.validate(
                layerCount: profile.layers.count, worldSize: count,
                miniBatchSize: experiment.training.miniBatchSize)
            for index in plan.stages.indices {
                plan.stages[index].share = plan.stages[index].share.map { $0 * reading.partsPerSample }
            }
            return try outcome([plan])
        case .pac where count <= Self.mostDevicesForGroupings:
            return try search(GroupingSearch.groupings(of: count, stageCounts: 1...count))
        case .pac:
            switch try experiment.search(profile) {
            case .success(let plan): return try outcome([plan])
            case .failure(let infeasible): return .outOfMemory(reason: infeasible.message)
            }
        }
    }

    /// Simulates one grouping of the devices, with the best division of the layers; nil when it does not fit.
    package func run(grouping: [Int]) throws -> SimulatedRun? {
        if case .completed(let run) = try search([grouping]) { run } else { nil }
    }

    private func outcome(_ plans: [Plan]) throws -> Outcome {
        let search = GroupingSearch(
            profile: profile, costs: costs, schedule: experiment.pipelineSchedule)
        for plan in plans {
            if let shortage = search.shortage(of: plan) { return .outOfMemory(reason: shortage) }
        }
        return .completed(try simulated(plans, rounds: 1)!)
    }

    private func search(_ groupings: [[Int]], mayCutRounds: Bool = false) throws -> Outcome {
        let size = experiment.training.miniBatchSize
        let search = GroupingSearch(
            profile: profile, costs: costs, schedule: experiment.pipelineSchedule)
        for rounds in mayCutRounds ? divisors(size) : [1] {
            var plans: [Plan] = []
            for count in microBatchCounts(size / rounds) {
                let units = size / rounds / count * reading.partsPerSample
                plans += groupings.compactMap {
                    search.plan(grouping: $0, microBatchSize: units, microBatchCount: count)
                }
            }
            if let run = try simulated(plans, rounds: rounds) { return .completed(run) }
        }
        return .outOfMemory(reason: shortage(groupings, search, mayCutRounds: mayCutRounds))
    }

    private func microBatchCounts(_ size: Int) -> [Int] {
        guard let bound = experiment.training.microBatchCount else { return divisors(size) }
        return size % bound == 0 ? [bound] : []
    }

    /// Why nothing fits: the plan that comes closest, with the smallest micro-batches.
    private func shortage(_ groupings: [[Int]], _ search: GroupingSearch, mayCutRounds: Bool) -> String {
        let size = experiment.training.miniBatchSize
        let count = mayCutRounds ? 1 : microBatchCounts(size).last ?? size
        let units = (mayCutRounds ? 1 : size / count) * reading.partsPerSample
        let shortages = groupings.compactMap { grouping -> (String, Int)? in
            guard
                let plan = search.closestPlan(
                    grouping: grouping, microBatchSize: units, microBatchCount: count),
                let shortage = search.shortage(of: plan)
            else { return nil }
            return (shortage, simulator.run(plan).ranks.map(\.peakBytes).max() ?? 0)
        }
        return shortages.min { $0.1 < $1.1 }?.0 ?? "the model has fewer layers than the system wants stages"
    }

    /// The plan with the shortest simulated step; nil of none.
    private func simulated(_ plans: [Plan], rounds: Int) throws -> SimulatedRun? {
        var best: (plan: Plan, simulation: SimulatedStep)?
        for plan in plans {
            let simulation = simulator.run(plan)
            if best == nil || simulation.stepSeconds < best!.simulation.stepSeconds {
                best = (plan, simulation)
            }
        }
        guard let best else { return nil }
        return SimulatedRun(
            plan: best.plan, simulation: best.simulation, rounds: rounds,
            partsPerSample: reading.partsPerSample,
            experiment: experiment, sampleCount: reading.sampleCount ?? experiment.task.knownSampleCount,
            cluster: cluster, model: model, profile: profile, costs: costs)
    }

    private func divisors(_ number: Int) -> [Int] { (1...number).filter { number % $0 == 0 } }
}

extension TaskSpecification {
    /// Training samples of a GLUE task, or the limit that the experiment sets; nil for data of one's own.
    fileprivate var knownSampleCount: Int? {
        let size: Int? =
            switch name {
            case .mrpc: 3668
            case .stsb: 5749
            case .sst2: 67349
            case .qnli: 104_743
            case nil: nil
            }
        return [size, trainLimit].compactMap { $0 }.min()
    }
}
