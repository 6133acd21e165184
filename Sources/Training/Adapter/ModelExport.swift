import Models
import Support
import TextData

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Makes a directory of fully tuned tensors a model of its own, which Hugging Face's classes and this program load:
/// configuration and tokenizer of the model that it was tuned from, and the tensors under the name that they look for.
struct ModelExport {
    private let source: String
    private let family: any ModelFamily
    private let task: TextTask

    /// - Parameter source: the directory of the model that was tuned.
    init(from source: String, _ family: any ModelFamily, _ task: TextTask) {
        self.source = source
        self.family = family
        self.task = task
    }

    /// What a model's directory may hold besides its tensors.
    private static let companions = [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
        "merges.txt", "spiece.model", "generation_config.json", "chat_template.jinja",
    ]

    /// Adds the files to a directory that has the tensors in `tensorFile`.
    func write(to directory: String, tensorFile: String) throws {
        for name in Self.companions where fileExists("\(source)/\(name)") {
            try writeFileAtomically(try readFile("\(source)/\(name)"), to: "\(directory)/\(name)")
        }
        try writeFileAtomically(
            try configuration().text(indented: true) + "\n", to: directory + "/config.json")
        let link = directory + "/model.safetensors"
        try removeFile(link)
        guard symlink(tensorFile, link) == 0 else {
            throw Failure.run("\(link): cannot be made: \(systemReason())")
        }
    }

    /// The model's configuration, with what a classifier of this task is to Hugging Face.
    private func configuration() throws -> JSONValue {
        let original = try JSONValue(contentsOf: source + "/config.json").members ?? []
        let changes = classifierKeys
        return .dictionary(
            original.filter { member in !changes.contains { $0.0 == member.key } }.map { ($0.key, $0.value) }
                + changes)
    }

    private var classifierKeys: [(String, JSONValue)] {
        let (names, problem): ([String], String)
        switch task.problem {
        case .classification(let labels): (names, problem) = (labels, "single_label_classification")
        case .regression: (names, problem) = (["score"], "regression")
        case .generation, .languageModeling: return []
        }
        let classPrefix = family.name.prefix(1).uppercased() + family.name.dropFirst()
        return [
            ("architectures", [.string("\(classPrefix)ForSequenceClassification")]),
            ("problem_type", .string(problem)),
            ("id2label", .dictionary(names.enumerated().map { ("\($0)", .string($1)) })),
            ("label2id", .dictionary(names.enumerated().map { ($1, JSONValue($0)) })),
        ]
    }
}
