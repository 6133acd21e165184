import Support

/// Byte-pair encoding: a word's characters, merged pair by pair, the merge that stands first in the file first and the
/// leftmost of equal ones.
///
/// With `byte_fallback` a character that is no token becomes its bytes, `<0xNN>`; otherwise it is the unknown token, or
/// nothing where the file names none. Source: tokenizers' `BPE::merge_word` and `Word::merge_all`.
struct BytePairEncoding: TokenModel {
    let tokens: [String?]
    private let trie: ByteTrie
    private let merges: MergeTable
    private let unknown: Int32?
    private let fusesUnknown: Bool
    /// The token of every byte; nil without byte fallback.
    private let byteTokens: [Int32?]?
    /// Whether a word that is exactly this token becomes it: most words of a text then need no merging at all.
    private var isWhole: [Bool]

    init(_ object: JSONObjectReader) throws {
        for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
            if let affix = object.optional(key), try !affix.string().isEmpty {
                throw affix.failure(expected: "null (a prefix or suffix of subwords is not supported)")
            }
        }
        if let dropout = object.optional("dropout"), try dropout.number() != 0 {
            throw dropout.failure(expected: "null (merges are never left out)")
        }
        let vocabulary = try Vocabulary(tokensToIDs: try object.required("vocab"))
        let trie = vocabulary.trie
        let unknown = try object.optional("unk_token").map { field in
            guard let id = trie[try field.string().utf8] else {
                throw field.failure(expected: "a token of the vocabulary")
            }
            return id
        }
        self.init(
            vocabulary, try MergeTable(try object.required("merges"), tokens: trie), unknown: unknown,
            fusesUnknown: try object.optional("fuse_unk")?.bool() ?? false,
            fallsBackToBytes: try object.optional("byte_fallback")?.bool() ?? false,
            ignoresMerges: try object.optional("ignore_merges")?.bool() ?? false)
    }

    /// - Parameter ignoresMerges: whether a word that is a token is taken whole even where its merges end elsewhere.
    init(
        _ vocabulary: Vocabulary, _ merges: MergeTable, unknown: Int32? = nil, fusesUnknown: Bool = false,
        fallsBackToBytes: Bool = false, ignoresMerges: Bool = false
    ) {
        tokens = vocabulary.tokens
        trie = vocabulary.trie
        self.merges = merges
        self.unknown = unknown
        self.fusesUnknown = fusesUnknown
        let trie = trie
        byteTokens =
            fallsBackToBytes ? (0...UInt8.max).map { trie[ByteFallbackDecoder.token(of: $0).utf8] } : nil
        isWhole = Array(repeating: ignoresMerges, count: tokens.count)
        guard !ignoresMerges else { return }
        var ids: [Int32] = []
        for (id, token) in tokens.enumerated() {
            guard var token, !token.isEmpty else { continue }
            ids.removeAll(keepingCapacity: true)
            token.withUTF8 { merge($0, into: &ids) }
            isWhole[id] = ids == [Int32(id)]
        }
    }

    func id(of token: String) -> Int32? { trie[token.utf8] }

    func encode(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        if let id = trie[word], isWhole[Int(id)] {
            ids.append(id)
        } else {
            merge(word, into: &ids)
        }
    }

    /// A token of a word, linked to its neighbours that are left.
    private struct Symbol {
        var id: Int32
        var previous: Int32
        var next: Int32
        /// The rank of the merge with the next symbol, `none` when there is no such merge.
        var rank: UInt32 = none

        static let none = UInt32.max
    }

    private func merge(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        withUnsafeTemporaryAllocation(of: Symbol.self, capacity: word.count) { symbols in
            let count = split(word, into: symbols)
            guard count > 0 else { return }
            // Every pair is a candidate once, and every merge makes at most two new pairs.
            withUnsafeTemporaryAllocation(of: MergeHeap.Candidate.self, capacity: 3 * count) { slots in
                merge(symbols, count, MergeHeap(slots))
            }
            var index = 0
            while index < count {
                ids.append(symbols[index].id)
                index = Int(symbols[index].next)
            }
        }
    }

    private func merge(_ symbols: UnsafeMutableBufferPointer<Symbol>, _ count: Int, _ emptyHeap: MergeHeap) {
        var heap = emptyHeap
        func offer(_ index: Int) {
            let next = Int(symbols[index].next)
            symbols[index].rank = Symbol.none
            guard next < count, let found = merges.merge(symbols[index].id, symbols[next].id) else { return }
            symbols[index].rank = found.rank
            heap.push(MergeHeap.Candidate(rank: found.rank, position: Int32(index)))
        }
        for index in 0..<count { offer(index) }
        while let best = heap.pop() {
            let left = best.position
            // A symbol that was merged since has another rank, or none.
            guard symbols[left].rank == best.rank else { continue }
            let right = Int(symbols[left].next)
            guard let found = merges.merge(symbols[left].id, symbols[right].id) else { continue }
            symbols[left].id = found.token
            symbols[left].next = symbols[right].next
            symbols[right].rank = Symbol.none
            let next = Int(symbols[left].next)
            if next < count { symbols[next].previous = Int32(left) }
            offer(left)
            if symbols[left].previous >= 0 { offer(Int(symbols[left].previous)) }
        }
    }

    /// Writes the tokens of a word's characters and returns how many there are.
    private func split(
        _ word: UnsafeBufferPointer<UInt8>, into symbols: UnsafeMutableBufferPointer<Symbol>
    ) -> Int {
        var count = 0
        func append(_ id: Int32) {
            symbols.initializeElement(
                at: count, to: Symbol(id: id, previous: Int32(count - 1), next: Int32(count + 1)))
            count += 1
        }
        // Characters without a token wait until one with a token follows: the library writes them in this order.
        var isUnknownPending = false
        var index = 0
        while index < word.count {
            let end = index + UTF8Text.width(of: word[index])
            let scalar = word[index..<end]
            index = end
            if let id = trie[scalar] {
                if isUnknownPending, let unknown { append(unknown) }
                isUnknownPending = false
                append(id)
            } else if let byteTokens, scalar.allSatisfy({ byteTokens[Int($0)] != nil }) {
                for byte in scalar { if let id = byteTokens[Int(byte)] { append(id) } }
            } else if let unknown {
                if isUnknownPending, !fusesUnknown { append(unknown) }
                isUnknownPending = true
            }
        }
        if isUnknownPending, let unknown { append(unknown) }
        return count
    }
}
