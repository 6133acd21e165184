import MPI
import Models
import Plans
import Stages
import Support
import TensorCore
import TextData

/// Runs a saved adapter with its backbone: evaluation and prediction, on any number of ranks.
package final class AdapterRunner {
    private let session: Session
    private let pipeline: PipelinePhase
    private let maximumLength: Int

    /// Loads the adapter into this rank's part of the model. Collective over the world.
    package init(
        world: consuming Communicator, experimentPath: String, overrides: [String], adapterPath: String,
        data: Session.Data
    ) throws {
        let session = try Session(
            world: world, experimentPath: experimentPath, overrides: overrides, data: data,
            adjust: { try AdapterDirectory(adapterPath).apply(to: &$0) })
        self.session = session
        let context = session.context
        let adapter = try context.world.agree { try AdapterDirectory(adapterPath) }
        maximumLength = try context.world.agree { try adapter.maximumGenerationLength() }
        let pipeline = try PipelinePhase(
            session.model, try EvaluationPlan.make(session), session.experiment, on: context)
        try context.world.agree {
            if let model = pipeline.model {
                try adapter.load(into: model, modelFingerprint: session.model.files.fingerprint)
            }
        }
        self.pipeline = pipeline
    }

    /// Measures the adapter on the validation data. Collective over the world.
    ///
    /// - Returns: on rank 0 the metrics and the number of samples; nil elsewhere.
    package func evaluate() throws -> (metrics: Metrics, samples: Int)? {
        guard let validation = session.data.validation else {
            throw Failure.configuration("task.validation: expected a file to evaluate on, found null").shared
        }
        let predictions =
            session.data.validatesByWriting
            ? try pipeline.write(validation, Generator.Request(maximumLength: maximumLength))
            : try pipeline.predict(validation)
        var result: (metrics: Metrics, samples: Int)?
        try session.context.world.agree {
            guard let predictions, let task = session.data.task else { return }
            result = (try predictions.metrics(task, validation.dataset), validation.count)
        }
        return result
    }

    /// Predicts one text (or pair), or the rows of a file. Collective over the world.
    ///
    /// - Parameters: `decoding` says how texts are written; `onText` sees on rank 0 what the model adds to the text of the
    ///   first row, as it is written.
    /// - Returns: on rank 0 an object for each row: its fields, `prediction`, and for classes `probabilities`.
    package func predict(
        text: [String], input: String?, decoding: Decoding = .greedy, onText: ((String) -> Void)? = nil
    ) throws -> [JSONValue] {
        var rows: [Row] = []
        let bytes = try session.context.world.fromRoot {
            let task = session.data.task!
            rows =
                if let input { try task.rows(contentsOf: input, labelled: false) } else {
                    [try task.row(text: text[0], pair: text.count > 1 ? text[1] : nil)]
                }
            return try task.prompts(rows).serialized()
        }
        let dataset = try TokenizedDataset(serialized: bytes)
        let samples = try session.context.world.agree {
            try SplitSamples(
                dataset, session.model.family, head: session.data.headKind,
                pooling: session.model.configuration.pooling)
        }
        guard
            let predictions = writesText
                ? try pipeline.write(
                    samples,
                    Generator.Request(
                        decoding: decoding, maximumLength: maximumLength, onToken: onText.map(stream)))
                : try pipeline.predict(samples)
        else { return [] }
        return try rows.enumerated().map { index, row in
            guard predictions.rows[index]?.allSatisfy(\.isFinite) != false else {
                throw Failure.run(
                    "\(input ?? "--text"): row \(index + 1): the adapter's prediction is no number")
            }
            return .dictionary(
                row.members + predictions.fields(index, session.data.task!, session.context.ledger))
        }
    }
}

extension AdapterRunner {
    /// Whether predictions are texts.
    package var writesText: Bool { session.data.headKind == .languageModel }

    /// Turns the growing tokens of the first row into the text that each adds. A character whose bytes are not all there
    /// yet is held back.
    private func stream(_ onText: @escaping (String) -> Void) -> (Int, [Int32]) -> Void {
        var shown = 0
        return { [task = session.data.task!] sample, tokens in
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
    fileprivate func fields(_ sample: Int, _ task: TextTask, _ ledger: Ledger) -> [(String, JSONValue)] {
        switch task.problem {
        case .classification(let labels):
            let row = rows[sample]!
            let probabilities = softmax(Tensor(row, rows: 1, columns: row.count, ledger: ledger)).values
            return [
                ("prediction", .string(labels[Self.largest(row)])),
                (
                    "probabilities",
                    .dictionary(zip(labels, probabilities).map { ($0, JSONValue(Double($1))) })
                ),
            ]
        case .regression: return [("prediction", JSONValue(Double(rows[sample]![0])))]
        case .generation, .languageModeling:
            return [("prediction", .string(task.text(texts[sample]!)))]
        }
    }
}
