import Support

/// One turn of a conversation.
public struct ChatMessage: Sendable, Equatable {
    /// "system", "user" or "assistant"; templates may know others.
    public let role: String
    public let content: String

    public init(role: String, content: String) {
        self.role = role
        self.content = content
    }
}

/// How a model was taught to read a conversation: the template of its tokenizer, in the part of the language Jinja that
/// such templates are written in. What is not built in is an error that names it.
public struct ChatTemplate: Sendable {
    private let source: String
    private let file: String
    private let beginToken: String
    private let endToken: String

    /// - Parameters: `source` is the template; `file` names it in errors; the tokens' texts are what the template knows as
    ///   `bos_token` and `eos_token`.
    /// - Throws: when the template uses what is not built in.
    public init(_ source: String, file: String, beginToken: String = "", endToken: String = "") throws {
        self.source = source
        self.file = file
        self.beginToken = beginToken
        self.endToken = endToken
        _ = try TemplateParser.nodes(of: source, file: file)
    }

    /// Reads the template of a model's directory: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`.
    ///
    /// - Parameter path: a template's own file, or the name of one that is built in ("chatml", "llama3", "zephyr"), in
    ///   place of the model's.
    public init(contentsOf directory: String, override path: String? = nil) throws {
        let configuration = directory + "/tokenizer_config.json"
        let settings =
            fileExists(configuration)
            ? try JSONReader(contentsOf: configuration).object() : nil
        let tokens = try ["bos_token", "eos_token"].map { key in
            guard let value = settings?.optional(key) else { return "" }
            if case .string(let text) = value.value { return text }
            return try value.object().required("content").string()
        }
        let separate = directory + "/chat_template.jinja"
        let (source, file): (String, String)
        if let path, let known = Self.builtIn[path] {
            (source, file) = (known, "the built-in template \(path)")
        } else if let path {
            (source, file) = (String(decoding: try readFile(path), as: UTF8.self), path)
        } else if fileExists(separate) {
            (source, file) = (String(decoding: try readFile(separate), as: UTF8.self), separate)
        } else if let value = settings?.optional("chat_template") {
            (source, file) = (try Self.template(value), configuration)
        } else {
            let names = Self.builtIn.keys.sorted().map { "\"\($0)\"" }.joined(separator: ", ")
            throw Failure.configuration(
                "\(directory): expected a chat template in chat_template.jinja or tokenizer_config.json, found none; "
                    + "task.chat_template names another file, or one of \(names)")
        }
        try self.init(source, file: file, beginToken: tokens[0], endToken: tokens[1])
    }

    /// A template, or the default one of several.
    private static func template(_ value: JSONReader) throws -> String {
        if case .string(let text) = value.value { return text }
        let templates = try value.array().map { try $0.object() }
        for template in templates where try template.required("name").string() == "default" {
            return try template.required("template").string()
        }
        throw value.failure(expected: "a template, or a list with one that is named \"default\"")
    }

    /// The text of a conversation.
    ///
    /// - Parameter addGenerationPrompt: end with what makes the model answer.
    /// - Throws: what the template refuses.
    public func render(_ messages: [ChatMessage], addGenerationPrompt: Bool) throws -> String {
        let turns = messages.map { message -> TemplateValue in
            .dictionary([("role", .string(message.role)), ("content", .string(message.content))])
        }
        return try TemplateEvaluator.render(
            TemplateParser.nodes(of: source, file: file),
            with: [
                "messages": .list(turns), "bos_token": .string(beginToken), "eos_token": .string(endToken),
                "add_generation_prompt": .bool(addGenerationPrompt),
            ])
    }

    /// The text of a conversation, and the ranges of its UTF-8 bytes that assistants say: each answer with what ends it.
    ///
    /// An answer is what its turn adds to the conversation before it with the generation prompt.
    /// - Throws: when the template writes an earlier turn otherwise once a later one follows, so that this cannot be told.
    public func renderMarkingAnswers(_ messages: [ChatMessage]) throws -> (
        text: String, answers: [Range<Int>]
    ) {
        let text = try render(messages, addGenerationPrompt: false)
        let whole = Array(text.utf8)
        var answers: [Range<Int>] = []
        for (index, message) in messages.enumerated() where message.role == "assistant" {
            let before = Array(try render(Array(messages[..<index]), addGenerationPrompt: true).utf8)
            let after = Array(try render(Array(messages[...index]), addGenerationPrompt: false).utf8)
            guard after.starts(with: before), whole.starts(with: after) else {
                throw Failure.configuration(
                    "\(file): expected a template that adds a turn without changing those before it, found that message "
                        + "\(index + 1) of \(messages.count) changes them")
            }
            answers.append(before.count..<after.count)
        }
        return (text, answers)
    }
}
