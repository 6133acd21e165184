import MPI
import Models
import Plans
import Support
import TensorCore

/// Brings the parameters of all stages together: to save what was trained, and to train on from the cache.
enum ParameterGathering {
    /// Copies every stage's trainable values, and the optimizer's state beside them, into a bucket of all steps.
    ///
    /// Collective over the world: each stage's first rank broadcasts its bucket. The layout of a stage's bucket follows
    /// from its steps, so only numbers travel.
    ///
    /// - Parameters:
    ///   - own: this rank's stage; nil when the plan leaves it out.
    ///   - optimizers: this rank's, and the one of the complete bucket; nil copies values alone.
    static func gather(
        into complete: ParameterBucket, from own: StageModel?, plan: Plan, session: Session,
        optimizers: (own: any Optimizer, complete: any Optimizer)? = nil
    ) throws {
        let family = session.model.family
        let targets = [complete.values] + (optimizers?.complete.state ?? [])
        for stage in plan.stages {
            let layout = try StageModel.declarations(
                family, session.modelConfiguration, steps: family.steps(of: stage.layers))
            let count = layout.reduce(0) { $0 + $1.count }
            let isRoot = session.world.rank == stage.ranks[0]
            let sources = isRoot ? [own!.parameters.values] + (optimizers?.own.state ?? []) : []
            for (index, target) in targets.enumerated() {
                let buffer = Tensor(rows: 1, columns: count, category: .exchange, ledger: session.ledger)
                if isRoot { buffer.pointer.update(from: sources[index].pointer, count: count) }
                try session.world.broadcast(
                    UnsafeMutableRawBufferPointer(start: buffer.pointer, count: count * 4),
                    root: stage.ranks[0])
                var start = 0
                for declaration in layout {
                    let range = complete.range(of: declaration.name)!
                    (target.pointer + range.lowerBound).update(
                        from: buffer.pointer + start, count: range.count)
                    start += range.count
                }
            }
        }
    }

    /// Shows some ranks a flat buffer of the whole model, which the stages hold in parts, piece by piece in the order of
    /// `declarations`, so that no rank holds more than its stage. Collective over the world.
    ///
    /// - Parameters:
    ///   - declarations: those of all stages.
    ///   - own: this rank's bucket; nil when the plan leaves it out.
    ///   - buffer: the values, or a state of the optimizer, as long as the bucket; nil with `own`.
    ///   - recipients: the ranks on which `body` runs.
    /// - Throws: on every rank, what `body` threw on any.
    static func stream(
        _ declarations: [ParameterBucket.Declaration], from own: ParameterBucket?, _ buffer: Tensor?,
        plan: Plan,
        session: Session, to recipients: [Int], _ body: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        let family = session.model.family
        var owners: [String: Int] = [:]
        for stage in plan.stages.reversed() {
            for declaration in try StageModel.declarations(
                family, session.modelConfiguration, steps: family.steps(of: stage.layers))
            {
                owners[declaration.name] = stage.ranks[0]
            }
        }
        let rank = session.world.rank
        let isRecipient = recipients.contains(rank)
        var failure: (any Error)?
        for declaration in declarations {
            let owner = owners[declaration.name]!
            guard rank == owner || isRecipient else { continue }
            let first = rank == owner ? buffer!.offset + own!.range(of: declaration.name)!.lowerBound : 0
            for start in stride(from: 0, to: declaration.count, by: pieceCount) {
                let count = min(pieceCount, declaration.count - start)
                let piece: any MessageBuffer =
                    rank == owner
                    ? FloatView(buffer!.storage, first + start..<first + start + count)
                    : FloatMessage(count: count, ledger: session.ledger)
                if rank == owner {
                    for request in try recipients.filter({ $0 != owner }).map({
                        try session.world.immediateSend(piece, to: $0, tag: 0)
                    }) {
                        try request.wait()
                    }
                } else {
                    try session.world.immediateReceive(into: piece, from: owner, tag: 0).wait()
                }
                guard isRecipient, failure == nil else { continue }
                // After a failure the pieces still arrive: nobody is left waiting with one.
                do {
                    try withExtendedLifetime(piece) {
                        try body(UnsafeBufferPointer(piece.bytes.assumingMemoryBound(to: Float.self)))
                    }
                } catch {
                    failure = error
                }
            }
        }
        try session.world.agree { if let failure { throw failure } }
    }

    /// Floats of a piece: small beside any model.
    private static let pieceCount = 4 << 10

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
