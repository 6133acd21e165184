import MPI
import Models
import Support
import TensorCore
import TextData

/// What a model said of each sample: rows of logits (classes, or one score), the tokens of a text, or the losses of its
/// own.
public struct Predictions: Sendable {
    public internal(set) var rows: [Int: [Float]] = [:]

    /// Adds what a model says of a batch, given the state that the batch left: the logits of each sample or, of a language
    /// model, the losses of its tokens.
    mutating func add(_ batch: MicroBatch, _ state: HiddenState, _ model: StageModel) {
        let logits = model.logits(state, batch)
        guard case .tokens(let tokens) = batch.targets else {
            let values = logits.values
            for (index, sample) in batch.sampleIDs.enumerated() {
                rows[sample] = Array(values[index * logits.columns..<(index + 1) * logits.columns])
            }
            return
        }
        var start = 0
        for (sample, span) in zip(batch.sampleIDs, batch.spans(model.family.lastStack.kind)) {
            let end = start + batch.targetRows[start...].prefix { span.contains($0) }.count
            rows[sample] = (start..<end).map {
                let row = logits.rows($0..<$0 + 1)
                return Float(crossEntropy(row, labels: [tokens[$0]], weight: nil).sum)
            }
            start = end
        }
    }

    /// All ranks' predictions, on rank 0; nil elsewhere. Collective over the world.
    func gathered(_ world: borrowing Communicator) throws -> Predictions? {
        var writer = ByteWriter()
        for (sample, values) in rows.sorted(by: { $0.key < $1.key }) {
            writer.write(sample)
            writer.write(values)
        }
        guard let all = try world.gather(writer.bytes) else { return nil }
        var merged = Predictions()
        for (rank, part) in all.enumerated() {
            var reader = ByteReader(part, "the predictions of rank \(rank)")
            while !reader.isAtEnd { merged.rows[try reader.integer()] = try reader.floats() }
        }
        return merged
    }

    /// The task's figures of merit.
    ///
    /// - Throws: when a sample has no prediction.
    public func metrics(_ task: TextTask, _ dataset: TokenizedDataset) throws -> Metrics {
        let ordered = try (0..<dataset.count).map { sample in
            guard let row = rows[sample] else {
                throw Failure.run(
                    "evaluation: expected a prediction for each of \(dataset.count) samples, found none for sample \(sample)"
                )
            }
            return row
        }
        switch task.problem {
        case .classification: return task.metrics(classes: ordered.map(Self.largest), for: dataset)
        case .regression: return task.metrics(scores: ordered.map { $0[0] }, for: dataset)
        case .languageModeling:
            return task.metrics(
                losses: ordered.map { losses in (losses.reduce(0.0) { $0 + Double($1) }, losses.count) })
        case .generation:
            return task.metrics(texts: ordered.map { task.text($0.map { Int32($0) }) }, for: dataset)
        }
    }

    /// The index of the largest value, the lower one on ties.
    static func largest(_ row: [Float]) -> Int { row.indices.reduce(0) { row[$1] > row[$0] ? $1 : $0 } }
}
