import MPI
import Models
import Plans
import Support
import TensorCore

/// Brings the parameters of all stages together: to save what was trained, and to train on from the cache.
package enum ParameterGathering {
    /// Copies every stage's trainable values, and the optimizer's state beside them, into a bucket of all steps.
    ///
    /// Collective over the world: each stage's first rank broadcasts its bucket.
    ///
    /// - Parameters:
    ///   - own: this rank's stage; nil when the plan leaves it out.
    ///   - optimizers: this rank's, and the one of the complete bucket; nil copies values alone.
    package static func gather(
        into complete: ParameterBucket, from own: StageModel?, _ layout: TrainedLayout, on rank: RankContext,
        optimizers: (own: any Optimizer, complete: any Optimizer)? = nil
    ) throws {
        let targets = [complete.values] + (optimizers?.complete.state ?? [])
        for (stage, declarations) in zip(layout.plan.stages, layout.stages) {
            let count = declarations.reduce(0) { $0 + $1.count }
            let isRoot = rank.world.rank == stage.ranks[0]
            let sources = isRoot ? [own!.parameters.values] + (optimizers?.own.state ?? []) : []
            for (index, target) in targets.enumerated() {
                let buffer = Tensor(rows: 1, columns: count, category: .exchange, ledger: rank.ledger)
                if isRoot { buffer.pointer.update(from: sources[index].pointer, count: count) }
                try rank.world.broadcast(
                    UnsafeMutableRawBufferPointer(start: buffer.pointer, count: count * 4),
                    root: stage.ranks[0])
                var start = 0
                for declaration in declarations {
                    let range = complete.range(of: declaration.name)!
                    (target.pointer + range.lowerBound).update(
                        from: buffer.pointer + start, count: range.count)
                    start += range.count
                }
            }
        }
    }

    /// Shows some ranks a flat buffer of the whole model, which the stages hold in parts, piece by piece in the order of
    /// the complete layout, so that no rank holds more than its stage. Collective over the world.
    ///
    /// - Parameters:
    ///   - own: this rank's bucket; nil when the plan leaves it out.
    ///   - buffer: the values, or a state of the optimizer, as long as the bucket; nil with `own`.
    ///   - recipients: the ranks on which `body` runs.
    /// - Throws: on every rank, what `body` threw on any.
    package static func stream(
        from own: ParameterBucket?, _ buffer: Tensor?, _ layout: TrainedLayout, on context: RankContext,
        to recipients: [Int], _ body: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        let rank = context.rank
        let isRecipient = recipients.contains(rank)
        var failure: (any Error)?
        for declaration in layout.complete {
            let owner = layout.owners[declaration.name]!
            guard rank == owner || isRecipient else { continue }
            let first = rank == owner ? buffer!.offset + own!.range(of: declaration.name)!.lowerBound : 0
            for start in stride(from: 0, to: declaration.count, by: pieceCount) {
                let count = min(pieceCount, declaration.count - start)
                let piece: any MessageBuffer =
                    rank == owner
                    ? FloatView(buffer!.storage, first + start..<first + start + count)
                    : FloatMessage(count: count, ledger: context.ledger)
                if rank == owner {
                    for request in try recipients.filter({ $0 != owner }).map({
                        try context.world.immediateSend(piece, to: $0, tag: 0)
                    }) {
                        try request.wait()
                    }
                } else {
                    try context.world.immediateReceive(into: piece, from: owner, tag: 0).wait()
                }
                guard isRecipient, failure == nil else { continue }
                // After a failure the pieces are still received, so that no sender waits.
                do {
                    try withExtendedLifetime(piece) {
                        try body(UnsafeBufferPointer(piece.bytes.assumingMemoryBound(to: Float.self)))
                    }
                } catch {
                    failure = error
                }
            }
        }
        try context.world.agree { if let failure { throw failure } }
    }

    /// Floats of a piece: small beside any model.
    private static let pieceCount = 4 << 10

    /// Copies the values that a stage holds out of a complete model: the way back, for an evaluation through the stages.
    package static func scatter(from complete: StageModel, into stage: StageModel) {
        for declaration in stage.parameters.declarations {
            let from = complete.parameters.range(of: declaration.name)!
            let to = stage.parameters.range(of: declaration.name)!
            (stage.parameters.values.pointer + to.lowerBound).update(
                from: complete.parameters.values.pointer + from.lowerBound, count: from.count)
        }
    }
}
