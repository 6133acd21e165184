import Support

/// A token for every character of a list: the tokenizers of models that turn a word into its pronunciation.
///
/// Such a checkpoint has no tokenizer file; its `config.json` lists what the encoder reads (`grapheme_chars`) and what the
/// decoder writes (`phoneme_chars`). The place of a character is its id, and four places before the characters belong to
/// padding, begin, end and unknown, whatever stands there. A text stands between begin and end on both sides.
struct ScalarVocabulary: TokenModel {
    /// As in the models that have such lists: 0 to 2 are named by the configuration, and 3 is unknown.
    private static let special = ["<pad>", "<s>", "</s>", "<unk>"]
    private static let (begin, end, unknown): (Int32, Int32, Int32) = (1, 2, 3)

    let tokens: [String?]
    private let ids: [Unicode.Scalar: Int32]

    /// The keys of the lists in `config.json`: of the encoder's characters, and of the decoder's.
    static let keys = (read: "grapheme_chars", written: "phoneme_chars")

    /// Whether a `config.json` lists the characters of a tokenizer.
    static func isDescribed(by configuration: JSONReader) throws -> Bool {
        let object = try configuration.object()
        return object.optional(keys.read) != nil && object.optional(keys.written) != nil
    }

    /// Reads the list under a key. Where a character stands twice the last place counts.
    init(_ configuration: JSONReader, key: String) throws {
        let object = try configuration.object()
        for (key, id) in [("pad_token_id", 0), ("bos_token_id", Self.begin), ("eos_token_id", Self.end)] {
            let field = try object.required(key)
            guard try field.integer() == Int(id) else {
                throw field.failure(expected: "\(id), as the first four places of \(Self.keys.read) have it")
            }
        }
        let list = try object.required(key)
        let scalars = try Array(list.string().unicodeScalars)
        guard scalars.count > Self.special.count else {
            throw list.failure(expected: "more than \(Self.special.count) characters")
        }
        tokens = Self.special + scalars.dropFirst(Self.special.count).map { String($0) }
        ids = Dictionary(
            scalars.enumerated().dropFirst(Self.special.count).map { ($1, Int32($0)) },
            uniquingKeysWith: { $1 })
    }

    func encode(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        var position = 0
        while position < word.count {
            ids.append(self.ids[word.scalar(at: position)] ?? Self.unknown)
            position += UTF8Text.width(of: word[position])
        }
    }

    func id(of token: String) -> Int32? {
        if let place = Self.special.firstIndex(of: token) { return Int32(place) }
        let scalars = token.unicodeScalars
        return scalars.count == 1 ? ids[scalars[scalars.startIndex]] : nil
    }

    /// The tokenizer of this list.
    var components: TokenizerComponents {
        TokenizerComponents(
            addedTokens: Self.special.enumerated().map { AddedToken(special: $1, id: Int32($0)) },
            normalizer: IdentityNormalizer(), preTokenizer: WholePreTokenizer(), model: self,
            template: SequenceTemplate(cls: Self.begin, sep: Self.end), decoder: FuseDecoder())
    }
}
