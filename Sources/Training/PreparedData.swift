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
        var writer = ByteWriter()
        writer.write(headKind.outputs)
        writer.write(tokenizer.fingerprint)
        writer.write(task.problem == .generation ? 1 : 0)
        writer.write(train?.serialized() ?? [])
        writer.write(validation?.serialized() ?? [])
        return writer.bytes
    }
}

extension PreparedData.Received {
    init(_ bytes: [UInt8]) throws {
        var reader = ByteReader(bytes, "the prepared data")
        headKind = HeadKind(outputs: try reader.integer())
        tokenizerFingerprint = try reader.text()
        validatesByWriting = try reader.integer() == 1
        func dataset(_ bytes: [UInt8]) throws -> TokenizedDataset? {
            bytes.isEmpty ? nil : try TokenizedDataset(serialized: bytes)
        }
        train = try dataset(reader.list())
        validation = try dataset(reader.list())
        try reader.requireEnd()
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
