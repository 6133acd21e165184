import Support

/// The parts of a `tokenizer.json`, each made by its `type`. A new kind of component is one more case here.
struct TokenizerComponents {
    let addedTokens: [AddedToken]
    let normalizer: any Normalizer
    let preTokenizer: any PreTokenizer
    let model: any TokenModel
    let template: SequenceTemplate
    let decoder: any TokenDecoder

    /// The file's `padding` and `truncation` are not read: the experiment says how long a text may be, and nothing here is
    /// ever padded.
    init(_ file: JSONReader) throws {
        let top = try file.object()
        addedTokens = try top.optional("added_tokens")?.array().map { try AddedToken($0) } ?? []
        normalizer = try top.optional("normalizer").map(Self.normalizer) ?? IdentityNormalizer()
        preTokenizer = try top.optional("pre_tokenizer").map(Self.preTokenizer) ?? WholePreTokenizer()
        model = try Self.model(try top.required("model"))
        template = try top.optional("post_processor").map(Self.template) ?? SequenceTemplate()
        decoder = try top.optional("decoder").map(Self.decoder) ?? SpaceDecoder()
    }

    private static func normalizer(_ reader: JSONReader) throws -> any Normalizer {
        let object = try reader.object()
        switch try component(object, "Sequence", "Precompiled", "BertNormalizer", "Strip", "Replace") {
        case "Sequence":
            return SequenceNormalizer(parts: try object.required("normalizers").array().map(normalizer))
        case "Precompiled": return try PrecompiledNormalizer(object)
        case "BertNormalizer": return try BertNormalizer(object)
        case "Strip": return try StripNormalizer(object)
        default: return try ReplaceNormalizer(object)
        }
    }

    private static func preTokenizer(_ reader: JSONReader) throws -> any PreTokenizer {
        let object = try reader.object()
        switch try component(object, "Sequence", "WhitespaceSplit", "Metaspace", "BertPreTokenizer") {
        case "Sequence":
            return SequencePreTokenizer(parts: try object.required("pretokenizers").array().map(preTokenizer))
        case "WhitespaceSplit": return WhitespaceSplit()
        case "Metaspace": return try Metaspace(object)
        default: return BertPreTokenizer()
        }
    }

    private static func model(_ reader: JSONReader) throws -> any TokenModel {
        let object = try reader.object()
        switch try component(object, "WordPiece", "Unigram") {
        case "WordPiece": return try WordPiece(object)
        default: return try Unigram(object)
        }
    }

    private static func template(_ reader: JSONReader) throws -> SequenceTemplate {
        let object = try reader.object()
        switch try component(object, "TemplateProcessing", "BertProcessing") {
        case "TemplateProcessing": return try SequenceTemplate(template: object)
        default: return try SequenceTemplate(bert: object)
        }
    }

    private static func decoder(_ reader: JSONReader) throws -> any TokenDecoder {
        let object = try reader.object()
        switch try component(object, "WordPiece", "Metaspace") {
        case "WordPiece": return try WordPieceDecoder(object)
        default: return try MetaspaceDecoder(object)
        }
    }

    /// The component's type, which must be one of those built in.
    private static func component(_ object: JSONObjectReader, _ known: String...) throws -> String {
        try object.required("type").choice(known)
    }
}
