import MPI
import Models
import Plans
import Support
import TensorCore
import TextData

/// What a model said of each sample: a row of numbers or, where it was asked to write, a text.
package struct Predictions: Sendable {
    /// Logits (classes, or one score), or the losses of the sample's own tokens.
    package internal(set) var rows: [Int: [Float]] = [:]
    /// The tokens that the model wrote.
    package internal(set) var texts: [Int: [Int32]] = [:]

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
        writer.write(rows.count)
        for (sample, values) in rows.sorted(by: { $0.key < $1.key }) {
            writer.write(sample)
            writer.write(values)
        }
        for (sample, tokens) in texts.sorted(by: { $0.key < $1.key }) {
            writer.write(sample)
            writer.write(tokens)
        }
        guard let all = try world.gather(writer.bytes) else { return nil }
        var merged = Predictions()
        for (rank, part) in all.enumerated() {
            var reader = ByteReader(part, "the predictions of rank \(rank)")
            for _ in 0..<(try reader.count()) { merged.rows[try reader.integer()] = try reader.floats() }
            while !reader.isAtEnd { merged.texts[try reader.integer()] = try reader.list() }
        }
        return merged
    }

    /// The task's figures of merit.
    ///
    /// - Throws: when a sample has no prediction.
    package func metrics(_ task: TextTask, _ dataset: TokenizedDataset) throws -> Metrics {
        func ordered<Prediction>(_ predictions: [Int: Prediction]) throws -> [Prediction] {
            try (0..<dataset.count).map { sample in
                guard let prediction = predictions[sample] else {
                    throw Failure.run(
                        "evaluation: expected a prediction for each of \(dataset.count) samples, found none for sample \(sample)"
                    )
                }
                return prediction
            }
        }
        switch task.problem {
        case .classification: return task.metrics(classes: try ordered(rows).map(Self.largest), for: dataset)
        case .regression: return task.metrics(scores: try ordered(rows).map { $0[0] }, for: dataset)
        case .languageModeling:
            return task.metrics(
                losses: try ordered(rows).map { losses in
                    (losses.reduce(0.0) { $0 + Double($1) }, losses.count)
                })
        case .generation: return task.metrics(texts: try ordered(texts).map(task.text), for: dataset)
        }
    }

    /// The index of the largest value, the lower one on ties.
    static func largest(_ row: [Float]) -> Int { row.indices.reduce(0) { row[$1] > row[$0] ? $1 : $0 } }
}
