import Support

/// The parts of a `tokenizer.json`, each made by its `type`. A new kind of component is one more case here.
struct TokenizerComponents {
    let addedTokens: [AddedToken]
    let normalizer: any Normalizer
    let preTokenizer: any PreTokenizer
    let model: any TokenModel
    let template: SequenceTemplate
    let decoder: any TokenDecoder
}

extension TokenizerComponents {
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
        switch try component(
            object, "Sequence", "Precompiled", "BertNormalizer", "NFC", "Strip", "Prepend", "Replace")
        {
        case "Sequence":
            return SequenceNormalizer(parts: try object.required("normalizers").array().map(normalizer))
        case "Precompiled": return try PrecompiledNormalizer(object)
        case "BertNormalizer": return try BertNormalizer(object)
        case "NFC": return ComposingNormalizer()
        case "Strip": return try StripNormalizer(object)
        case "Prepend": return try PrependNormalizer(object)
        default: return try ReplaceNormalizer(object)
        }
    }

    private static func preTokenizer(_ reader: JSONReader) throws -> any PreTokenizer {
        let object = try reader.object()
        switch try component(
            object, "Sequence", "WhitespaceSplit", "Metaspace", "Split", "ByteLevel", "BertPreTokenizer")
        {
        case "Sequence":
            return SequencePreTokenizer(parts: try object.required("pretokenizers").array().map(preTokenizer))
        case "WhitespaceSplit": return WhitespaceSplit()
        case "Metaspace": return try Metaspace(object)
        case "Split": return try PatternSplit(object)
        case "ByteLevel": return try ByteLevel(object)
        default: return BertPreTokenizer()
        }
    }

    private static func model(_ reader: JSONReader) throws -> any TokenModel {
        let object = try reader.object()
        switch try component(object, "WordPiece", "BPE", "Unigram") {
        case "WordPiece": return try WordPiece(object)
        case "BPE": return try BytePairEncoding(object)
        default: return try Unigram(object)
        }
    }

    /// `ByteLevel` only trims offsets, which are not kept; of a sequence at most one other processor may be there, as two
    /// templates would have to be nested.
    private static func template(_ reader: JSONReader) throws -> SequenceTemplate {
        let object = try reader.object()
        switch try component(
            object, "TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel", "Sequence")
        {
        case "TemplateProcessing": return try SequenceTemplate(template: object)
        case "BertProcessing": return try SequenceTemplate(bert: object)
        case "RobertaProcessing": return try SequenceTemplate(roberta: object)
        case "ByteLevel": return SequenceTemplate()
        default:
            let field = try object.required("processors")
            let parts = try field.array().filter { try $0.object().required("type").string() != "ByteLevel" }
            guard parts.count <= 1 else {
                throw field.failure(expected: "at most one processor beside ByteLevel")
            }
            return try parts.first.map(template) ?? SequenceTemplate()
        }
    }

    private static func decoder(_ reader: JSONReader) throws -> any TokenDecoder {
        let object = try reader.object()
        switch try component(
            object, "WordPiece", "Metaspace", "ByteLevel", "Sequence", "Replace", "ByteFallback", "Fuse",
            "Strip")
        {
        case "WordPiece": return try WordPieceDecoder(object)
        case "Metaspace": return try MetaspaceDecoder(object)
        case "ByteLevel": return ByteLevelDecoder()
        case "Sequence":
            return SequenceDecoder(parts: try object.required("decoders").array().map(decoder))
        case "Replace": return try ReplaceDecoder(object)
        case "ByteFallback": return ByteFallbackDecoder()
        case "Fuse": return FuseDecoder()
        default: return try StripDecoder(object)
        }
    }

    /// The component's type, which must be one of those built in.
    private static func component(_ object: JSONObjectReader, _ known: String...) throws -> String {
        try object.required("type").choice(known)
    }
}
