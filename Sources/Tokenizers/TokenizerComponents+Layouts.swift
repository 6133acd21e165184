import Support

/// Tokenizers of checkpoints without a `tokenizer.json`: what the file would say, from the vocabulary and the model's kind.
extension TokenizerComponents {
    /// T5's default; a file may say otherwise.
    private static let sentinelCount = 100

    /// T5 from its sentencepiece model. `<extra_id_N>` to `<extra_id_0>` follow the pieces and score 0, as the
    /// `tokenizers` library has them.
    init(t5 model: SentencePieceModel, _ settings: TokenizerSettings) throws {
        try settings.expectClass(in: ["T5Tokenizer"])
        guard model.removesExtraWhitespaces else {
            throw model.failure(
                "a model that removes extra white space, found remove_extra_whitespaces false")
        }
        let unknown = model.pieces.indices.filter { model.pieces[$0].kind == .unknown }
        guard unknown.count == 1 else {
            throw model.failure("one unknown piece, found \(unknown.count)")
        }
        guard let end = model.pieces.firstIndex(where: { $0.text == "</s>" }) else {
            throw model.failure("a piece \"</s>\", found none")
        }
        let sentinels = (0..<(settings.sentinelCount ?? Self.sentinelCount)).reversed().map {
            "<extra_id_\($0)>"
        }
        var added: [AddedToken] = []
        for (id, piece) in model.pieces.enumerated() {
            switch piece.kind {
            case .control, .unknown, .userDefined:
                added.append(AddedToken(special: piece.text, id: Int32(id)))
            case .normal, .unused, .byte: continue
            }
        }
        for (offset, text) in sentinels.enumerated() {
            added.append(
                AddedToken(
                    special: text, id: Int32(model.pieces.count + offset), stripsLeft: true, stripsRight: true
                ))
        }
        let vocabulary = Vocabulary(
            model.pieces.map { ($0.text, Double($0.score)) } + sentinels.map { ($0, 0) })
        let spaces = MetaspaceSettings(prepends: model.addsDummyPrefix)
        // The space in front makes those at the beginning part of it; without it they have to go.
        var normalizers: [any Normalizer] = [
            StripNormalizer(left: !model.addsDummyPrefix, right: true),
            ReplaceNormalizer(runsOf: " ", minimum: 2, by: String(spaces.mark)),
        ]
        if !model.characterMap.isEmpty {
            let place = "\(model.file): normalizer_spec.precompiled_charsmap"
            normalizers.insert(try PrecompiledNormalizer(model.characterMap, place: place), at: 0)
        }
        self.init(
            addedTokens: settings.adding(to: added), normalizer: SequenceNormalizer(parts: normalizers),
            preTokenizer: Metaspace(spaces), model: Unigram(vocabulary, unknown: Int32(unknown[0])),
            template: SequenceTemplate(end: Int32(end)), decoder: MetaspaceDecoder(spaces))
    }

    /// A byte-level tokenizer from `vocab.json` and `merges.txt`. Where no configuration names the model's kind, a
    /// vocabulary with `<s>` and `</s>` is BART's or RoBERTa's, any other GPT-2's.
    init(
        byteLevel vocabulary: Vocabulary, _ merges: MergeTable, file: String, _ settings: TokenizerSettings
    ) throws {
        func special(_ token: String, stripsLeft: Bool = false) -> AddedToken? {
            vocabulary.trie[token.utf8].map { AddedToken(special: token, id: $0, stripsLeft: stripsLeft) }
        }
        let (first, last) = (vocabulary.trie["<s>".utf8], vocabulary.trie["</s>".utf8])
        let kind =
            try settings.expectClass(
                in: ["GPT2Tokenizer", "BartTokenizer", "RobertaTokenizer", "Qwen2Tokenizer"])
            ?? (first != nil && last != nil ? "BartTokenizer" : "GPT2Tokenizer")
        var added = [special("<|endoftext|>")]
        var template = SequenceTemplate()
        if kind == "BartTokenizer" || kind == "RobertaTokenizer" {
            guard let first, let last else {
                throw Failure.configuration("\(file): expected the tokens \"<s>\" and \"</s>\" of a \(kind)")
            }
            added =
                ["<s>", "<pad>", "</s>", "<unk>"].map { special($0) } + [special("<mask>", stripsLeft: true)]
            template = SequenceTemplate(cls: first, sep: last)
        }
        let isQwen2 = kind == "Qwen2Tokenizer"
        let bytes = ByteLevel(
            addsPrefixSpace: settings.addsPrefixSpace ?? false, pattern: isQwen2 ? nil : .gpt2)
        self.init(
            addedTokens: settings.adding(to: added.compactMap { $0 }),
            normalizer: isQwen2 ? ComposingNormalizer() : IdentityNormalizer(),
            preTokenizer: isQwen2 ? SequencePreTokenizer(parts: [PatternSplit(.qwen2), bytes]) : bytes,
            model: BytePairEncoding(vocabulary, merges), template: template, decoder: ByteLevelDecoder())
    }
}

extension TokenizerSettings {
    /// The model's kind, which must be one of those built in; nil when the file does not say.
    @discardableResult
    fileprivate func expectClass(in known: [String]) throws -> String? {
        guard let tokenizerClass else { return nil }
        guard known.contains(tokenizerClass.name) else {
            throw tokenizerClass.field.failure(
                expected: "one of " + known.map { "\"\($0)\"" }.joined(separator: ", "))
        }
        return tokenizerClass.name
    }
}
