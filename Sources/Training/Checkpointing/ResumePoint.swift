import MPI
import Models
import Stages
import Support
import TensorCore
import WeightFiles

/// The newest checkpoint of a run, wherever it lies: the rank that has it shows it to all others.
struct ResumePoint {
    let checkpoint: TrainingCheckpoint
    /// The rank that reads the file.
    fileprivate let holder: Int
    /// The file, on that rank.
    fileprivate let file: SafetensorsFile?
    fileprivate let path: String

    /// Looks for checkpoints on every rank. Collective over the world.
    ///
    /// - Returns: nil when no rank has one.
    /// - Throws: on all ranks, when the newest does not belong to this experiment.
    static func find(
        _ directory: RunDirectory, _ subject: TrainingCheckpoint.Subject, _ world: borrowing Communicator
    ) throws -> ResumePoint? {
        var own: (checkpoint: TrainingCheckpoint, file: SafetensorsFile)?
        try world.agree {
            let names = try directoryContents(directory.checkpointPath).filter {
                $0.hasPrefix("rank-") && $0.hasSuffix(".safetensors")
            }
            for name in names {
                let found = try TrainingCheckpoint.open("\(directory.checkpointPath)/\(name)")
                if own.map({ found.checkpoint.isNewer(than: $0.checkpoint) }) ?? true { own = found }
            }
        }
        // The newest checkpoint; where several ranks have it, the lowest rank's.
        let announced = try world.allGather(Array((own?.checkpoint.json.text() ?? "").utf8))
        let all = try announced.enumerated().compactMap {
            rank, bytes -> (rank: Int, checkpoint: TrainingCheckpoint)? in
            bytes.isEmpty
                ? nil
                : (
                    rank,
                    try TrainingCheckpoint(
                        String(decoding: bytes, as: UTF8.self), file: "checkpoint of rank \(rank)")
                )
        }
        guard var best = all.first else { return nil }
        for other in all where other.checkpoint.isNewer(than: best.checkpoint) { best = other }
        let point = ResumePoint(
            checkpoint: best.checkpoint, holder: best.rank, file: best.rank == world.rank ? own!.file : nil,
            path: directory.checkpointPath)
        try world.agree { try point.checkpoint.check(subject, path: point.path) }
        return point
    }

    /// Sets the values of a bucket and the optimizer's state beside them. Collective over the world.
    ///
    /// - Parameters: `declarations` are those of all stages; `own` is this rank's bucket, with all or some of them, and nil
    ///   where it has none; `optimizer` belongs to it.
    func restore(
        _ declarations: [ParameterBucket.Declaration], into own: ParameterBucket?, _ optimizer: any Optimizer,
        on context: RankContext
    ) throws {
        let count = declarations.reduce(0) { $0 + $1.count }
        guard count == checkpoint.trainableCount, optimizer.state.count == checkpoint.optimizerStateCount
        else {
            throw Failure.configuration(
                "\(path): expected \(count) trained parameters with \(optimizer.state.count) states of the optimizer, "
                    + "found \(checkpoint.trainableCount) with \(checkpoint.optimizerStateCount)"
            ).shared
        }
        for declaration in declarations {
            for buffer in 0...checkpoint.optimizerStateCount {
                let piece = Tensor(
                    rows: 1, columns: declaration.count, category: .exchange, ledger: context.ledger)
                try context.world.agree {
                    guard let file else { return }
                    let values = try file.floats(TrainingCheckpoint.name(declaration.name, buffer: buffer))
                    guard values.count == piece.count else {
                        throw Failure.configuration(
                            "\(file.path): tensor \"\(declaration.name)\": expected \(piece.count) numbers, found "
                                + "\(values.count)")
                    }
                    values.withUnsafeBufferPointer {
                        piece.pointer.update(from: $0.baseAddress!, count: $0.count)
                    }
                }
                try context.world.broadcast(
                    UnsafeMutableRawBufferPointer(start: piece.pointer, count: piece.count * 4), root: holder)
                guard let own, let range = own.range(of: declaration.name) else { continue }
                let target = buffer == 0 ? own.values : optimizer.state[buffer - 1]
                (target.pointer + range.lowerBound).update(from: piece.pointer, count: range.count)
            }
        }
    }
}
