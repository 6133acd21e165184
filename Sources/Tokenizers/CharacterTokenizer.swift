import Support

extension Tokenizer {
    /// Whether a model's directory has a tokenizer in any of the layouts.
    public static func isThere(in directory: String) -> Bool {
        TokenizerDirectory.files.contains { fileExists(directory + "/" + $0) }
    }

    /// A tokenizer for a model that is drawn from a seed and came without one: every printable ASCII character is a token.
    ///
    /// Its ids are 0 `<pad>`, 1 `</s>`, 2 `<unk>`, 3 `[CLS]`, 4 `[SEP]`, then the characters; texts stand in the template
    /// of BERT or T5. Enough for a benchmark, where a tokenizer of the right sizes is all that is wanted.
    ///
    /// - Parameter isEncoder: texts stand in the template of BERT, not in that of T5.
    package static func characters(isEncoder: Bool) -> Tokenizer {
        let special = ["<pad>", "</s>", "<unk>", "[CLS]", "[SEP]"]
        let spaces = MetaspaceSettings(prepends: true)
        let characters = [String(spaces.mark)] + (0x21...0x7E).map { String(UnicodeScalar(UInt8($0))) }
        let components = TokenizerComponents(
            addedTokens: special.enumerated().map { AddedToken(special: $1, id: Int32($0)) },
            normalizer: SequenceNormalizer(parts: []), preTokenizer: Metaspace(spaces),
            // One score for all: the one segmentation into characters is the best.
            model: Unigram(Vocabulary(special.map { ($0, 0) } + characters.map { ($0, -1) }), unknown: 2),
            template: isEncoder ? SequenceTemplate(cls: 3, sep: 4) : SequenceTemplate(end: 1),
            decoder: MetaspaceDecoder(spaces))
        return Tokenizer(components, fingerprint: Fingerprint(Array("characters".utf8)))
    }
}
