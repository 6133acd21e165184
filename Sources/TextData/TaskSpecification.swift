/// What kind of data a task reads (`task.kind`).
public enum TaskKind: String, Sendable, CaseIterable {
    /// One of the GLUE tasks in its official TSV layout.
    case glue
    /// JSONL with `text` or `text_a` and `text_b`, and a `label` out of a fixed set.
    case classification
    /// As `classification`, with a number as `label`.
    case regression
    /// JSONL with `source` and `target`.
    case textToText = "text_to_text"
    /// Plain text, or JSONL with `text`: every token is learned from those before it.
    case text
    /// JSONL with `messages`: what assistants say is learned.
    case chat
}

/// The GLUE tasks (`task.name`).
public enum GLUETask: String, Sendable, CaseIterable {
    case mrpc, stsb, sst2, qnli
}

/// How a text-to-text model spells a class (`task.label_style`).
public enum LabelStyle: String, Sendable, CaseIterable {
    /// The label itself ("not_equivalent").
    case words
    /// The label's index ("0").
    case digits
}

/// What reads the text and answers.
public enum ModelTaskStyle: Sendable {
    /// A model with a classification or regression head (BERT).
    case encoder
    /// A model that reads a text with an encoder and writes one with a decoder (T5).
    case textToText
    /// A decoder that continues a text (Llama).
    case continuation
}

/// What a model learns in a task.
public enum Problem: Sendable, Equatable {
    /// One class out of these, in the order of the class indices.
    case classification(labels: [String])
    /// One number.
    case regression
    /// A text, which is compared with the one that was wanted.
    case generation
    /// The next token of a text, measured by its probability.
    case languageModeling
}

/// The two parts of a task's data.
public enum Split: String, Sendable, CaseIterable {
    case train, validation
}

/// The `task` object of an experiment.
public struct TaskSpecification: Sendable, Equatable {
    public var kind: TaskKind
    /// Required for `glue`, unused otherwise.
    public var name: GLUETask?
    /// The training file's path.
    public var train: String
    /// The validation file's path.
    public var validation: String?
    /// The most tokens of one input, special tokens included.
    public var maximumSequenceLength: Int
    /// The classes in index order; nil for those of the training file, sorted.
    public var labels: [String]?
    public var labelStyle: LabelStyle
    /// For `chat`, a template's file or the name of a built-in one; nil for the model's own.
    public var chatTemplate: String?
    /// How many rows of a file are used at most, from its beginning; nil for all.
    public var trainLimit: Int?
    public var validationLimit: Int?

    public init(
        kind: TaskKind, name: GLUETask? = nil, train: String, validation: String? = nil,
        maximumSequenceLength: Int = 128, labels: [String]? = nil, labelStyle: LabelStyle = .words,
        chatTemplate: String? = nil, trainLimit: Int? = nil, validationLimit: Int? = nil
    ) {
        self.kind = kind
        self.name = name
        self.train = train
        self.validation = validation
        self.maximumSequenceLength = maximumSequenceLength
        self.labels = labels
        self.labelStyle = labelStyle
        self.chatTemplate = chatTemplate
        self.trainLimit = trainLimit
        self.validationLimit = validationLimit
    }
}
