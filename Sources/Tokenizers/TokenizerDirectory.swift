import Support

/// The tokenizer files of a model's directory: `tokenizer.json`, or what checkpoints without it have in its place.
struct TokenizerDirectory {
    private let path: String
    /// All bytes that were read, in the order of reading.
    private var bytes: [UInt8] = []

    init(_ path: String) { self.path = path }

    /// A hash of the files that were read.
    var fingerprint: Fingerprint { Fingerprint(bytes) }

    /// The tokenizer of what the model reads and, where the model writes with a vocabulary of its own, that one.
    mutating func components() throws -> (read: TokenizerComponents, written: TokenizerComponents?) {
        if !Self.files.contains(where: has), has("config.json") {
            let before = bytes
            let configuration = try json("config.json")
            if try ScalarVocabulary.isDescribed(by: configuration) {
                return (
                    try ScalarVocabulary(configuration, key: ScalarVocabulary.keys.read).components,
                    try ScalarVocabulary(configuration, key: ScalarVocabulary.keys.written).components
                )
            }
            bytes = before
        }
        return (try oneVocabulary(), nil)
    }

    /// A tokenizer has at least one of these files.
    static let files = ["tokenizer.json", "spiece.model", "vocab.json"]

    private mutating func oneVocabulary() throws -> TokenizerComponents {
        if has("tokenizer.json") { return try TokenizerComponents(try json("tokenizer.json")) }
        if has("spiece.model") {
            let model = try SentencePieceModel(try read("spiece.model"), file: name("spiece.model"))
            return try TokenizerComponents(t5: model, try settings())
        }
        guard has("vocab.json"), has("merges.txt") else {
            throw Failure.configuration(
                "\(name("tokenizer.json")): expected this file, or spiece.model, or vocab.json with merges.txt, or a "
                    + "config.json with grapheme_chars and phoneme_chars, found none of them")
        }
        let vocabulary = try Vocabulary(tokensToIDs: try json("vocab.json"))
        let merges = try MergeTable(
            file: name("merges.txt"), bytes: try read("merges.txt"), tokens: vocabulary.trie)
        return try TokenizerComponents(
            byteLevel: vocabulary, merges, file: name("vocab.json"), try settings())
    }

    private mutating func settings() throws -> TokenizerSettings {
        has("tokenizer_config.json")
            ? try TokenizerSettings(try json("tokenizer_config.json")) : TokenizerSettings()
    }

    private func name(_ file: String) -> String { "\(path)/\(file)" }

    private func has(_ file: String) -> Bool { fileExists(name(file)) }

    private mutating func read(_ file: String) throws -> [UInt8] {
        let content = try readFile(name(file))
        bytes += content
        return content
    }

    private mutating func json(_ file: String) throws -> JSONReader {
        try JSONReader(parsing: try read(file), file: name(file))
    }
}

/// What `tokenizer_config.json` adds to a vocabulary file. Its other keys are settings of the Python classes.
struct TokenizerSettings {
    /// The key with the Python class, without its suffix "Fast"; nil when the file does not say.
    private(set) var tokenizerClass: (name: String, field: JSONReader)?
    private(set) var addsPrefixSpace: Bool?
    private(set) var addedTokens: [AddedToken] = []
    /// How many `<extra_id_N>` follow a T5 vocabulary.
    private(set) var sentinelCount: Int?

    init() {}

    init(_ file: JSONReader) throws {
        let object = try file.object()
        if let field = object.optional("tokenizer_class") {
            let name = try field.string()
            tokenizerClass = (name.hasSuffix("Fast") ? String(name.dropLast(4)) : name, field)
        }
        addsPrefixSpace = try object.optional("add_prefix_space")?.bool()
        addedTokens =
            try object.optional("added_tokens_decoder")?.object().all.map {
                try AddedToken(key: $0.key, $0.value)
            }
            ?? []
        sentinelCount = try object.optional("extra_ids")?.integer(in: 0...10_000)
    }

    /// These special tokens, and those of the file, which count where both name an id.
    func adding(to tokens: [AddedToken]) -> [AddedToken] {
        let ids = Set(addedTokens.map(\.id))
        return tokens.filter { !ids.contains($0.id) } + addedTokens
    }
}
