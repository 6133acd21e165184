import Support

/// Turns text into token ids and back, as the files of the model say.
///
/// Built-in models: WordPiece with BERT's normaliser, Unigram with sentencepiece's precompiled map (T5), and byte-pair
/// encoding, byte-level (GPT-2, BART, Llama 3, Qwen2) or with byte fallback (Llama 2); in the new and the older layouts of
/// the files. Ids equal those of the `tokenizers` library; padding and truncation settings of the file are ignored.
/// Immutable: one tokenizer may serve any number of threads.
public final class Tokenizer: Sendable {
    /// A hash of the bytes of the files that were read, 16 hexadecimal digits.
    public let fingerprint: String
    /// The number of distinct tokens, added tokens included. A model's embedding may have more rows, never fewer.
    public let vocabularySize: Int
    /// The vocabulary in which the model writes, where it is another one.
    private let written: Tokenizer?

    private let normalizer: any Normalizer
    private let preTokenizer: any PreTokenizer
    private let model: any TokenModel
    private let template: SequenceTemplate
    private let decoder: any TokenDecoder
    private let rawMatcher: AddedTokenMatcher
    /// nil when no added token is looked for in normalised text.
    private let normalizedMatcher: AddedTokenMatcher?
    private let addedIDs: ByteTrie
    private let tokens: [String?]
    private let specialIDs: Set<Int32>

    /// Reads the tokenizer of a model's directory: `tokenizer.json`; where there is none, `spiece.model` (T5) or
    /// `vocab.json` with `merges.txt` (GPT-2, BART, Qwen2), together with `tokenizer_config.json` if it is there.
    ///
    /// A model that reads letters and writes sounds has its characters in `config.json` (`grapheme_chars`,
    /// `phoneme_chars`) instead; what it writes is then tokenized by `targets`.
    ///
    /// Throws when none of these files is there, one is damaged, or the model is of a kind that is not built in.
    public convenience init(contentsOf directory: String) throws {
        var files = TokenizerDirectory(directory)
        let components = try files.components()
        let fingerprint = files.fingerprint
        self.init(
            components.read, fingerprint: fingerprint,
            written: components.written.map { Tokenizer($0, fingerprint: fingerprint) })
    }

    /// Reads a `tokenizer.json`. Throws when it is missing, is not valid, or asks for a component that is not built in;
    /// the error names the file and the component.
    public convenience init(file: String) throws {
        let bytes = try readFile(file)
        let reader = try JSONReader(parsing: bytes, file: file)
        self.init(try TokenizerComponents(reader), fingerprint: Fingerprint(bytes))
    }

    init(_ components: TokenizerComponents, fingerprint: Fingerprint, written: Tokenizer? = nil) {
        self.fingerprint = fingerprint.text
        self.written = written
        let normalizer = components.normalizer
        self.normalizer = normalizer
        preTokenizer = components.preTokenizer
        model = components.model
        template = components.template
        decoder = components.decoder

        let added = components.addedTokens
        rawMatcher = AddedTokenMatcher(added.filter { !$0.isNormalized }) { Array($0.content.utf8) }
        let normalized = added.filter(\.isNormalized)
        normalizedMatcher =
            normalized.isEmpty
            ? nil : AddedTokenMatcher(normalized) { normalizer.normalize(Array($0.content.utf8)) }
        specialIDs = Set(added.filter(\.isSpecial).map(\.id))
        var tokens = components.model.tokens
        for token in added {
            while tokens.count <= token.id { tokens.append(nil) }
            tokens[Int(token.id)] = token.content
        }
        addedIDs = ByteTrie(added.map { (Array($0.content.utf8), $0.id) })
        self.tokens = tokens
        vocabularySize = tokens.reduce(0) { $1 == nil ? $0 : $0 + 1 }
    }

    /// The tokenizer of what the model writes: this one, unless the checkpoint has two vocabularies.
    public var targets: Tokenizer { written ?? self }

    /// The ids of a text, without special tokens around it. Added tokens written in the text ("[SEP]") are recognised.
    public func encode(_ text: String) -> [Int32] {
        var ids: [Int32] = []
        ids.reserveCapacity(text.utf8.count / 3 + 4)
        for section in rawMatcher.sections(of: Array(text.utf8)) {
            switch section {
            case .token(let id): ids.append(id)
            case .text(let bytes): encode(normalized: normalizer.normalize(bytes), into: &ids)
            }
        }
        return ids
    }

    private func encode(normalized text: [UInt8], into ids: inout [Int32]) {
        for section in normalizedMatcher?.sections(of: text) ?? [.text(text)] {
            switch section {
            case .token(let id): ids.append(id)
            case .text(let bytes):
                preTokenizer.split(Pieces(bytes)).visit { model.encode($0, into: &ids) }
            }
        }
    }

    /// The ids of one text with its special tokens; the text's end is cut off where the whole would be longer than
    /// `maximumLength`, the special tokens stay (T5 keeps its final `</s>`).
    public func encode(single text: String, maximumLength: Int) -> Encoding {
        template.assemble(encode(text), nil, maximumLength: maximumLength)
    }

    /// The ids of two texts with their special tokens, the longer one cut first.
    public func encode(pair: (String, String), maximumLength: Int) -> Encoding {
        template.assemble(encode(pair.0), encode(pair.1), maximumLength: maximumLength)
    }

    /// The number of special tokens that the template puts around one text or two.
    public func specialTokenCount(isPair: Bool) -> Int { template.specialTokenCount(isPair: isPair) }

    /// The text of token ids. Ids that are no token (a model's embedding may have more rows) give nothing.
    public func decode(_ ids: [Int32], skippingSpecialTokens: Bool = true) -> String {
        decoder.decode(
            ids.compactMap { id in
                guard tokens.indices.contains(Int(id)), !(skippingSpecialTokens && specialIDs.contains(id))
                else {
                    return nil
                }
                return tokens[Int(id)]
            }
        ).joined()
    }

    /// The id of a token, compared byte by byte; nil when there is none.
    public func id(of token: String) -> Int32? {
        addedIDs[token.utf8] ?? model.id(of: token)
    }
}
