import MPI
import Models
import Planning
import Support
import TensorCore

/// Brings the parameters of all stages together: to save an adapter, and to train on from the cache.
enum ParameterGathering {
    /// Copies every stage's trainable values, and the optimizer's state beside them, into a model of all steps.
    ///
    /// Collective over the world: each stage's first rank broadcasts its bucket. The layout of a stage's bucket follows
    /// from its steps, so only numbers travel.
    ///
    /// - Parameters:
    ///   - own: this rank's stage; nil when the plan leaves it out.
    ///   - optimizers: this rank's, and the one of the complete model; nil copies values alone.
    static func gather(
        into complete: StageModel, from own: StageModel?, plan: Plan, session: Session,
        optimizers: (own: (any Optimizer)?, complete: any Optimizer)? = nil
    ) throws {
        let ledger = session.ledger
        let family = session.model.family
        for stage in plan.stages {
            let layout = try StageModel.declarations(
                family, session.modelConfiguration, steps: family.steps(of: stage.layers))
            let count = layout.reduce(0) { $0 + $1.count }
            let isRoot = session.world.rank == stage.ranks[0]
            let targets = [complete.parameters.values] + (optimizers?.complete.state ?? [])
            let sources = isRoot ? [own!.parameters.values] + (optimizers?.own?.state ?? []) : []
            for (index, target) in targets.enumerated() {
                let buffer = Tensor(rows: 1, columns: count, category: .exchange, ledger: ledger)
                if isRoot { buffer.pointer.update(from: sources[index].pointer, count: count) }
                try session.world.broadcast(
                    UnsafeMutableRawBufferPointer(start: buffer.pointer, count: count * 4),
                    root: stage.ranks[0])
                var start = 0
                for declaration in layout {
                    let range = complete.parameters.range(of: declaration.name)!
                    (target.pointer + range.lowerBound).update(
                        from: buffer.pointer + start, count: range.count)
                    start += range.count
                }
            }
        }
        if let optimizers, let step = optimizers.own?.stepCount {
            optimizers.complete.restore(stepCount: step)
        }
    }

    /// Copies the values that a stage holds out of a complete model: the way back, for an evaluation through the stages.
    static func scatter(from complete: StageModel, into stage: StageModel) {
        for declaration in stage.parameters.declarations {
            let from = complete.parameters.range(of: declaration.name)!
            let to = stage.parameters.range(of: declaration.name)!
            (stage.parameters.values.pointer + to.lowerBound).update(
                from: complete.parameters.values.pointer + from.lowerBound, count: from.count)
        }
    }
}
