import MPI
import Models
import Plans
import Support

/// The plan of a run without training: every rank with the whole model or, where the memory budgets do not allow that,
/// as few stages as they do.
enum EvaluationPlan {
    /// Chooses. Collective over the world; the same on every rank. The experiment's own plan is taken where it fits the
    /// world.
    static func make(_ session: Session) throws -> Plan {
        let budgets = try session.world.allGather(Array("\(session.memoryBudget ?? Int.max)".utf8)).map {
            Int(String(decoding: $0, as: UTF8.self))!  // every rank writes a number
        }
        return try session.world.agree { try plan(session, budget: budgets.min()!) }
    }

    private static func plan(_ session: Session, budget: Int) throws -> Plan {
        let experiment = session.experiment
        let layerCount = session.model.family.plannerLayers.count
        let (size, worldSize) = (experiment.training.miniBatchSize, session.world.size)
        if experiment.parallelism.system == .plan {
            let plan = try PlanChooser.plan(experiment, nil)
            if plan.stages.allSatisfy({ $0.ranks.allSatisfy { $0 < worldSize } }) {
                try plan.validate(layerCount: layerCount, worldSize: worldSize, miniBatchSize: size)
                return plan
            }
        }
        let ranges = budget == Int.max ? [0..<layerCount] : try stages(session, budget: budget)
        guard ranges.count <= worldSize else {
            throw Failure.configuration(
                "device.memory_budget_bytes: the model needs \(ranges.count) ranks with \(budget) bytes each (null sets "
                    + "no limit), found \(worldSize)")
        }
        // Micro-batches for every stage to have work, of whole samples for each of its ranks.
        let microBatchCount = (ranges.count...max(ranges.count, size)).first { size % $0 == 0 } ?? size
        let groups = StagePlan.evenShare(sampleCount: worldSize, rankCount: ranges.count)
        var next = 0
        let stages = zip(ranges, groups).map { range, count in
            defer { next += count }
            let ranks = Array(next..<next + min(count, size / microBatchCount))
            return StagePlan(
                layers: range, ranks: ranks,
                share: StagePlan.evenShare(sampleCount: size / microBatchCount, rankCount: ranks.count))
        }
        return Plan(stages: stages, microBatchCount: microBatchCount)
    }

    /// Fills stage after stage with layers up to a share of the budget that leaves room for activations.
    private static func stages(_ session: Session, budget: Int) throws -> [Range<Int>] {
        let family = session.model.family
        let bytes = try family.plannerLayers.map { layer in
            let (trainable, frozen) = try StageModel.inventory(
                family, session.modelConfiguration, steps: layer.steps)
            // A bucket has values and gradients.
            return 4 * (frozen.reduce(0) { $0 + $1.count } + 2 * trainable.reduce(0) { $0 + $1.count })
        }
        let room = budget / 4 * 3
        var ranges: [Range<Int>] = []
        var (start, held) = (0, 0)
        for (index, layer) in bytes.enumerated() {
            if index > start, held + layer > room {
                ranges.append(start..<index)
                (start, held) = (index, 0)
            }
            held += layer
        }
        return ranges + [start..<bytes.count]
    }
}
