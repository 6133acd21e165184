import Support

/// Greedy longest match from the left; later pieces carry a prefix ("##"). A word that is too long or has an unmatched
/// rest is one unknown token.
struct WordPiece: TokenModel {
    let tokens: [String?]
    private let trie: ByteTrie
    /// Where the continuation prefix leads; nil when no piece carries it.
    private let continuation: ByteTrie.Node?
    private let unknown: Int32
    private let maximumScalarCount: Int

    init(_ object: JSONObjectReader) throws {
        let vocabulary = try Vocabulary(tokensToIDs: try object.required("vocab"))
        tokens = vocabulary.tokens
        trie = vocabulary.trie
        let unknownField = try object.required("unk_token")
        guard let id = trie[try unknownField.string().utf8] else {
            throw unknownField.failure(expected: "a token of the vocabulary")
        }
        unknown = id
        let prefix = try object.optional("continuing_subword_prefix")?.string() ?? "##"
        continuation = trie.node(at: prefix.utf8)
        maximumScalarCount =
            try object.optional("max_input_chars_per_word")?.integer(in: 1...Int(Int32.max)) ?? 100
    }

    func id(of token: String) -> Int32? { trie[token.utf8] }

    func encode(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        let first = ids.count
        guard !isTooLong(word) else { return ids.append(unknown) }
        var start = 0
        var node: ByteTrie.Node? = ByteTrie.root
        while start < word.count {
            var best: Int32 = -1
            var end = start
            var index = start
            while let here = node, index < word.count, let next = trie.child(of: here, word[index]) {
                index += 1
                node = next
                if trie.value(at: next) >= 0 {
                    best = trie.value(at: next)
                    end = index
                }
            }
            guard best >= 0 else {
                ids.removeSubrange(first...)
                return ids.append(unknown)
            }
            ids.append(best)
            start = end
            node = continuation
        }
    }

    private func isTooLong(_ word: UnsafeBufferPointer<UInt8>) -> Bool {
        word.count > maximumScalarCount
            && word.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) } > maximumScalarCount
    }
}
