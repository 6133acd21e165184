import ChatTemplates
import Support
import Tokenizers

/// A task: which rows there are, how a model reads them, what it learns, and how its answers are measured.
///
/// A text-to-text model reads GLUE in T5's own format and writes the label's word (or digit) or the score, STS-B's rounded
/// to 0.2; for other classes and scores it reads the text itself (`text_a: ... text_b: ...` for two) and writes the label,
/// or the score with one decimal.
public struct TextTask: Sendable {
    /// As given, with `labels` filled in for tasks with classes.
    public let specification: TaskSpecification
    public let style: ModelTaskStyle
    public let problem: Problem

    let tokenizer: Tokenizer
    /// Ends a text that continues its input; nil where the model has no such token.
    private let endToken: Int32?
    /// How the model reads conversations; for the kind `chat` alone.
    let chatTemplate: ChatTemplate?
    private let reader: RowReader
    /// nil for tasks without classes.
    let classes: ClassLabels?

    /// Settles the labels; reads the training file for them only where `labels` is nil and the kind is `classification`.
    ///
    /// - Parameters: `endToken` ends what a model writes behind its input, and an answer is learned with it;
    ///   `chatTemplate` is how the model reads conversations, for the kind `chat`.
    /// - Throws: when the specification contradicts itself or the model's style, or the training file is wrong.
    public init(
        _ specification: TaskSpecification, style: ModelTaskStyle, tokenizer: Tokenizer,
        endToken: Int32? = nil, chatTemplate: ChatTemplate? = nil
    ) throws {
        self.endToken = endToken
        self.chatTemplate = chatTemplate
        if specification.kind == .glue, specification.name == nil {
            let names = GLUETask.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
            throw Failure.configuration(
                "task.name: expected one of \(names) for the kind \"glue\", found null")
        }
        if specification.kind == .textToText, style == .encoder {
            throw Failure.configuration(
                "task.kind: expected \"glue\", \"classification\" or \"regression\" for a model without a decoder, "
                    + "found \"text_to_text\"")
        }
        let learnsInput = specification.kind == .text || specification.kind == .chat
        if learnsInput, style != .continuation {
            throw Failure.configuration(
                "task.kind: expected another kind for a model that does not continue texts (Llama and Qwen2 do), found "
                    + "\"\(specification.kind.rawValue)\"")
        }
        guard specification.kind == .chat || specification.chatTemplate == nil else {
            throw Failure.configuration("task.chat_template: expected null for any kind but \"chat\"")
        }
        let isPair = style == .encoder
        let minimum = tokenizer.specialTokenCount(isPair: isPair) + (isPair ? 2 : 1)
        guard specification.maximumSequenceLength >= minimum else {
            throw Failure.configuration(
                "task.max_sequence_length: expected at least \(minimum), found \(specification.maximumSequenceLength)"
            )
        }
        for (key, limit) in [
            ("train_limit", specification.trainLimit), ("validation_limit", specification.validationLimit),
        ] {
            if let limit, limit < 1 {
                throw Failure.configuration("task.\(key): expected at least 1, found \(limit)")
            }
        }
        let name = specification.kind == .glue ? specification.name : nil
        reader = RowReader(kind: specification.kind, name: name)
        classes = try Self.classes(specification, name, reader)
        var resolved = specification
        resolved.labels = classes?.names
        self.specification = resolved
        self.style = style
        self.tokenizer = tokenizer
        if learnsInput {
            problem = .languageModeling
        } else if style != .encoder {
            problem = .generation
        } else if let classes {
            problem = .classification(labels: classes.names)
        } else {
            problem = .regression
        }
        if style != .encoder { try requireWritableLabels() }
    }

    private static func classes(_ specification: TaskSpecification, _ name: GLUETask?, _ reader: RowReader)
        throws
        -> ClassLabels?
    {
        if let name {
            guard specification.labels == nil || specification.labels == name.labels else {
                throw Failure.configuration(
                    "task.labels: expected null, \"\(name.rawValue)\" has its own labels")
            }
            return name.labels.map { ClassLabels($0) }
        }
        guard specification.kind == .classification else {
            guard specification.labels == nil else {
                throw Failure.configuration(
                    "task.labels: expected null for the kind \"\(specification.kind.rawValue)\", found labels"
                )
            }
            return nil
        }
        if let labels = specification.labels {
            guard labels.count >= 2, Set(labels.map { Array($0.utf8) }).count == labels.count else {
                throw Failure.configuration("task.labels: expected at least two labels, all different")
            }
            return ClassLabels(labels)
        }
        let classes = ClassLabels(sorting: try reader.rows(contentsOf: specification.train, labelled: true))
        guard classes.names.count >= 2 else {
            throw Failure.configuration(
                "\(specification.train): label: expected at least two different labels, "
                    + "found only \"\(classes.names.joined())\"")
        }
        return classes
    }

    /// A label with characters that the tokenizer does not have could never be answered.
    private func requireWritableLabels() throws {
        for index in (classes?.names ?? []).indices {
            let word = labelWord(index)
            let written = tokenizer.targets.decode(tokenizer.targets.encode(word))
            guard classIndex(of: written) == index else {
                throw Failure.configuration(
                    "task.labels: expected labels that the model can write, but \"\(word)\" comes back from the "
                        + "tokenizer as \"\(written)\" (label_style \"digits\" avoids this)")
            }
        }
    }

    /// The text of tokens that a model wrote.
    public func text(_ ids: [Int32]) -> String { tokenizer.targets.decode(ids) }

    // MARK: Rows

    /// Reads and tokenizes a split. Throws `file:line: field: expected, found` at the first row that is wrong.
    public func load(_ split: Split) throws -> TokenizedDataset {
        let (path, limit) =
            switch split {
            case .train: (specification.train as String?, specification.trainLimit)
            case .validation: (specification.validation, specification.validationLimit)
            }
        guard let path else {
            throw Failure.configuration("task.\(split.rawValue): expected a file, found null")
        }
        let rows = try rows(contentsOf: path)
        if specification.kind == .text { return try passages(rows, path, limit: limit) }
        if specification.kind == .chat { return try conversations(rows, path, limit: limit) }
        return tokenize(limit.map { Array(rows.prefix($0)) } ?? rows)
    }

    /// Reads the rows of a file in the task's format; a GLUE task also reads JSONL, with T5's names of the texts.
    ///
    /// - Parameter labelled: whether the label of every row is required; otherwise labels are not read (prediction).
    public func rows(contentsOf path: String, labelled: Bool = true) throws -> [Row] {
        let rows = try reader.rows(contentsOf: path, labelled: labelled)
        guard let classes else { return rows }
        return try rows.map { try classes.resolving($0, file: path) }
    }

    /// A row without a label, for a prediction. Throws when the task needs another number of texts.
    public func row(text: String, pair: String?) throws -> Row {
        let texts = [text] + (pair.map { [$0] } ?? [])
        let names: [String] =
            switch specification.kind {
            case .glue: specification.name?.fieldNames ?? []
            case .textToText: ["source"]
            case .text, .chat: ["text"]
            case .classification, .regression: pair == nil ? ["text"] : ["text_a", "text_b"]
            }
        guard names.count == texts.count else {
            throw Failure.configuration(
                "expected \(names.count) text\(names.count == 1 ? "" : "s") (\(names.joined(separator: ", "))), "
                    + "found \(texts.count)")
        }
        let messages = specification.kind == .chat ? [ChatMessage(role: "user", content: text)] : []
        return Row(fields: zip(names, texts).map { Row.Field(name: $0, text: $1) }, messages: messages)
    }

    // MARK: Tokens

    /// Tokenizes rows. Labels and targets are there if every row has a label.
    public func tokenize(_ rows: [Row]) -> TokenizedDataset {
        let isLabelled = rows.allSatisfy { $0.label != nil }
        let inputs = rows.map(encode)
        let targets =
            isLabelled && style != .encoder
            ? rows.map { answer(target(of: $0)) } : nil
        let truncated = rows.indices.filter { inputs[$0].wasTruncated || targets?[$0].wasTruncated == true }
        return TokenizedDataset(
            inputs: inputs.map(\.ids), typeIDs: inputs.map(\.typeIDs),
            labels: isLabelled ? labels(of: rows) : .none,
            targets: targets?.map(\.ids), truncatedCount: truncated.count)
    }

    /// Tokenizes rows to be answered, whatever their labels.
    ///
    /// - Throws: what a chat template refuses.
    public func prompts(_ rows: [Row]) throws -> TokenizedDataset {
        let inputs =
            try chatTemplate.map { template in try rows.map { try prompt($0, template) } } ?? rows.map(encode)
        return TokenizedDataset(
            inputs: inputs.map(\.ids), typeIDs: inputs.map(\.typeIDs), labels: .none,
            truncatedCount: inputs.filter(\.wasTruncated).count)
    }

    /// What the model reads of a row.
    public func encode(_ row: Row) -> Encoding {
        let length = specification.maximumSequenceLength
        if style != .encoder {
            let source = tokenizer.encode(single: source(of: row), maximumLength: length)
            return style == .continuation ? source.without(end: endToken) : source
        }
        let texts = row.fields.map(\.text)
        return texts.count == 2
            ? tokenizer.encode(pair: (texts[0], texts[1]), maximumLength: length)
            : tokenizer.encode(single: texts[0], maximumLength: length)
    }

    /// The tokens that the model is to write: as the tokenizer puts a text between special tokens or, where they continue
    /// the input, the text's own and the end.
    private func answer(_ text: String) -> Encoding {
        let length = specification.maximumSequenceLength
        guard style == .continuation else {
            return tokenizer.targets.encode(single: text, maximumLength: length)
        }
        let ids = tokenizer.encode(text)
        let end = endToken.map { [$0] } ?? []
        let kept = ids.prefix(max(0, length - end.count))
        return Encoding(
            ids: kept + end, typeIDs: (kept + end).map { _ in 0 }, wasTruncated: kept.count < ids.count)
    }

    private func labels(of rows: [Row]) -> TokenizedDataset.Labels {
        if classes != nil {
            return .classes(rows.map { if case .index(let index)? = $0.label { Int32(index) } else { -1 } })
        }
        if specification.kind == .textToText {
            return .texts(rows.map { if case .text(let text)? = $0.label { text } else { "" } })
        }
        return .scores(rows.map { if case .score(let score)? = $0.label { Float(score) } else { .nan } })
    }

    /// One row of a data set as the model reads it, with what it is to answer, for a look at the start of a run.
    public func preview(_ dataset: TokenizedDataset, row: Int = 0) -> String {
        let input = Self.onOneLine(tokenizer.decode(Array(dataset.input(row)), skippingSpecialTokens: false))
        let answer: String
        if problem == .languageModeling { return input }
        if dataset.hasTargets {
            answer = Self.onOneLine(
                tokenizer.targets.decode(Array(dataset.target(row)), skippingSpecialTokens: false))
        } else {
            switch dataset.labels {
            case .none: return input
            case .classes(let labels): answer = classes?.names[Int(labels[row])] ?? ""
            case .scores(let scores): answer = "\(scores[row])"
            case .texts(let texts): answer = texts[row]
            }
        }
        return "\(input) → \(answer)"
    }

    /// A text without line ends, of a long one the beginning.
    private static func onOneLine(_ text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        return line.count > 240 ? line.prefix(240) + "..." : line
    }
}
