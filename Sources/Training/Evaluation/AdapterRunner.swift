import MPI
import Models
import Plans
import Support
import TensorCore
import TextData

/// Runs a saved adapter with its backbone: evaluation and prediction, on any number of ranks.
public final class AdapterRunner {
    private let session: Session
    private let pipeline: PipelinePhase
    private let maximumLength: Int

    /// Loads the adapter into this rank's part of the model. Collective over the world.
    public init(
        world: consuming Communicator, experimentPath: String, overrides: [String], adapterPath: String,
        data: Session.Data
    ) throws {
        let session = try Session(
            world: world, experimentPath: experimentPath, overrides: overrides, data: data,
            adjust: { try AdapterDirectory(adapterPath).apply(to: &$0) })
        self.session = session
        let adapter = try session.world.agree { try AdapterDirectory(adapterPath) }
        maximumLength = try session.world.agree { try adapter.maximumGenerationLength() }
        let plan = try EvaluationPlan.make(session)
        let pipeline = try PipelinePhase(session, plan)
        try session.world.agree {
            if let model = pipeline.model {
                try adapter.load(into: model, modelFingerprint: session.model.fingerprint)
            }
        }
        self.pipeline = pipeline
    }

    /// Measures the adapter on the validation data. Collective over the world.
    ///
    /// - Returns: on rank 0 the metrics and the number of samples; nil elsewhere.
    public func evaluate() throws -> (metrics: Metrics, samples: Int)? {
        guard let dataset = session.validation else {
            throw Failure.configuration("task.validation: expected a file to evaluate on, found null").shared
        }
        let predictions = try pipeline.predict(
            dataset, writes: session.validatesByWriting, filling: nil, maximumLength: maximumLength)
        var result: (metrics: Metrics, samples: Int)?
        try session.world.agree {
            guard let predictions, let task = session.task else { return }
            result = (try predictions.metrics(task, dataset), dataset.count)
        }
        return result
    }

    /// Predicts one text (or pair), or the rows of a file. Collective over the world.
    ///
    /// - Parameters: `decoding` says how texts are written; `onText` sees on rank 0 what the model adds to the text of the
    ///   first row, as it is written.
    /// - Returns: on rank 0 an object for each row: its fields, `prediction`, and for classes `probabilities`.
    public func predict(
        text: [String], input: String?, decoding: Decoding = .greedy, onText: ((String) -> Void)? = nil
    ) throws -> [JSONValue] {
        var rows: [Row] = []
        let bytes = try session.world.fromRoot {
            let task = session.task!
            rows =
                if let input { try task.rows(contentsOf: input, labelled: false) } else {
                    [try task.row(text: text[0], pair: text.count > 1 ? text[1] : nil)]
                }
            return try task.prompts(rows).serialized()
        }
        let dataset = try TokenizedDataset(serialized: bytes)
        guard
            let predictions = try pipeline.predict(
                dataset, writes: writesText, decoding: decoding, filling: nil,
                maximumLength: maximumLength, onToken: onText.map(stream))
        else { return [] }
        return try rows.enumerated().map { index, row in
            guard predictions.rows[index]!.allSatisfy(\.isFinite) else {
                throw Failure.run(
                    "\(input ?? "--text"): row \(index + 1): the adapter's prediction is no number")
            }
            return .dictionary(
                row.members + predictions.fields(index, session.task!, session.ledger))
        }
    }
}

extension AdapterRunner {
    /// Whether predictions are texts.
    public var writesText: Bool { session.headKind == .languageModel }

    /// Turns the growing tokens of the first row into the text that each adds. A character whose bytes are not all there
    /// yet is held back.
    private func stream(_ onText: @escaping (String) -> Void) -> (Int, [Int32]) -> Void {
        var shown = 0
        return { [task = session.task!] sample, tokens in
            guard sample == 0 else { return }
            let text = Array(task.text(tokens).utf8)
            var end = text.count
            // U+FFFD stands for bytes that are no character, or none yet.
            while end >= 3, text[end - 3..<end].elementsEqual([0xEF, 0xBF, 0xBD]) { end -= 3 }
            guard end > shown else { return }
            onText(String(decoding: text[shown..<end], as: UTF8.self))
            shown = end
        }
    }
}

extension Predictions {
    /// What `predict` writes of a sample: label, score or text.
    fileprivate func fields(_ sample: Int, _ task: Task, _ ledger: Ledger) -> [(String, JSONValue)] {
        let row = rows[sample]!
        switch task.problem {
        case .classification(let labels):
            let probabilities = softmax(Tensor(row, rows: 1, columns: row.count, ledger: ledger)).values
            return [
                ("prediction", .string(labels[Self.largest(row)])),
                (
                    "probabilities",
                    .dictionary(zip(labels, probabilities).map { ($0, JSONValue(Double($1))) })
                ),
            ]
        case .regression: return [("prediction", JSONValue(Double(row[0])))]
        case .generation, .languageModeling:
            return [("prediction", .string(task.text(row.map { Int32($0) })))]
        }
    }
}
