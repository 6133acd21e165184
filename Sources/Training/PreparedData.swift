import ChatTemplates
import Models
import Support
import TextData
import Tokenizers

/// The data of a session: read, checked and tokenized on rank 0, received by the others.
struct PreparedData {
    let task: TextTask
    private let headKind: HeadKind
    private let tokenizer: Tokenizer
    private let train: TokenizedDataset?
    private let validation: TokenizedDataset?

    /// What every rank knows after the broadcast.
    struct Received {
        let headKind: HeadKind
        let tokenizerFingerprint: String
        let validatesByWriting: Bool
        let train: TokenizedDataset?
        let validation: TokenizedDataset?
    }

    init(_ experiment: Experiment, _ model: ModelFiles, _ data: Session.Data) throws {
        let family = model.family
        let classifies =
            family.generationTokens == nil || !family.answersInText && experiment.task.kind != .textToText
        let style: ModelTaskStyle =
            classifies ? .encoder : family.generationTokens?.start == nil ? .continuation : .textToText
        // A model drawn from a seed needs only its config.json.
        tokenizer =
            experiment.model.initialization == .random && !Tokenizer.isThere(in: experiment.model.path)
            ? Tokenizer.characters(isEncoder: style == .encoder)
            : try Tokenizer(contentsOf: experiment.model.path)
        let tokenCount = max(tokenizer.vocabularySize, tokenizer.targets.vocabularySize)
        guard tokenCount <= family.vocabularySize else {
            throw Failure.configuration(
                "\(experiment.model.path): expected a tokenizer of at most \(family.vocabularySize) tokens, as the "
                    + "model's embedding has rows, found \(tokenCount)")
        }
        if let limit = family.maximumPositions, experiment.task.maximumSequenceLength > limit {
            throw Failure.configuration(
                "task.max_sequence_length: expected at most \(limit), the model's positions, found "
                    + "\(experiment.task.maximumSequenceLength)")
        }
        let template =
            experiment.task.kind == .chat
            ? try ChatTemplate(contentsOf: experiment.model.path, override: experiment.task.chatTemplate)
            : nil
        task = try TextTask(
            experiment.task, style: style, tokenizer: tokenizer,
            endToken: family.generationTokens?.ends.first, chatTemplate: template)
        switch task.problem {
        case .classification(let labels): headKind = .classification(labels.count)
        case .regression: headKind = .regression
        case .generation, .languageModeling: headKind = .languageModel
        }
        train = data == .trainAndValidation ? try task.load(.train) : nil
        validation = data != .none && experiment.task.validation != nil ? try task.load(.validation) : nil
    }

    func serialized() -> [UInt8] {
        let header = JSONValue.dictionary([
            ("outputs", JSONValue(headKind.outputs)), ("tokenizer", .string(tokenizer.fingerprint)),
            ("writes", .bool(task.problem == .generation)),
        ])
        var bytes: [UInt8] = []
        for part in [Array(header.text().utf8), train?.serialized() ?? [], validation?.serialized() ?? []] {
            withUnsafeBytes(of: Int64(part.count).littleEndian) { bytes.append(contentsOf: $0) }
            bytes += part
        }
        return bytes
    }
}

extension PreparedData.Received {
    init(_ bytes: [UInt8]) throws {
        var parts: [[UInt8]] = []
        var start = 0
        while start < bytes.count {
            let count = bytes.withUnsafeBytes { Int($0.loadUnaligned(fromByteOffset: start, as: Int64.self)) }
            parts.append(Array(bytes[start + 8..<start + 8 + count]))
            start += 8 + count
        }
        let header = try JSONReader(
            JSONValue(parsing: parts[0], file: "prepared data"), file: "prepared data"
        ).object()
        headKind = HeadKind(outputs: try header.required("outputs").integer())
        tokenizerFingerprint = try header.required("tokenizer").string()
        validatesByWriting = try header.required("writes").bool()
        train = parts[1].isEmpty ? nil : try TokenizedDataset(serialized: parts[1])
        validation = parts[2].isEmpty ? nil : try TokenizedDataset(serialized: parts[2])
    }
}

extension HeadKind {
    /// A number for the journey: -1 regression, 0 language model, otherwise the classes.
    fileprivate var outputs: Int {
        switch self {
        case .regression: -1
        case .languageModel: 0
        case .classification(let count): count
        }
    }

    fileprivate init(outputs: Int) {
        self = outputs < 0 ? .regression : outputs == 0 ? .languageModel : .classification(outputs)
    }
}
