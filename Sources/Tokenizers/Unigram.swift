import Support

/// The segmentation with the largest sum of log-probabilities (Viterbi over bytes, double precision).
///
/// A scalar that is no piece costs 10 less than the worst piece as the unknown token; adjacent unknowns are one token; on a
/// tie the piece that begins earlier stays. Source: tokenizers' `Unigram::encode_optimized`.
struct Unigram: TokenModel {
    private static let unknownPenalty = 10.0

    let tokens: [String?]
    private let trie: ByteTrie
    private let scores: [Double]
    private let unknown: Int32
    private let unknownScore: Double

    init(_ object: JSONObjectReader) throws {
        if let fallback = object.optional("byte_fallback"), try fallback.bool() {
            throw fallback.failure(expected: "false (byte fallback is not supported in a Unigram model)")
        }
        let vocabulary = try Vocabulary(scoredTokens: try object.required("vocab"))
        let unknown = try object.required("unk_id").integer(in: 0...(vocabulary.tokens.count - 1))
        self.init(vocabulary, unknown: Int32(unknown))
    }

    /// - Parameter vocabulary: tokens with scores.
    init(_ vocabulary: Vocabulary, unknown: Int32) {
        tokens = vocabulary.tokens
        trie = vocabulary.trie
        scores = vocabulary.scores
        self.unknown = unknown
        unknownScore = (scores.min() ?? 0) - Self.unknownPenalty
    }

    func id(of token: String) -> Int32? { trie[token.utf8] }

    /// The best way to reach a byte position.
    private struct Arrival {
        var score: Double
        var start: Int32
        var id: Int32
    }

    func encode(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        let first = ids.count
        withUnsafeTemporaryAllocation(of: Arrival.self, capacity: word.count + 1) { best in
            best.initialize(repeating: Arrival(score: 0, start: -1, id: unknown))
            search(word, best)
            var end = word.count
            while end > 0 {
                let arrival = best[end]
                if arrival.id != unknown || ids.count == first || ids[ids.count - 1] != unknown {
                    ids.append(arrival.id)
                }
                end = Int(arrival.start)
            }
        }
        ids[first...].reverse()
    }

    private func search(_ word: UnsafeBufferPointer<UInt8>, _ best: UnsafeMutableBufferPointer<Arrival>) {
        @inline(__always)
        func offer(_ end: Int, _ score: Double, from start: Int, _ id: Int32) {
            if best[end].start < 0 || score > best[end].score {
                best[end] = Arrival(score: score, start: Int32(start), id: id)
            }
        }
        var start = 0
        while start < word.count {
            let here = best[start].score
            let single = start + UTF8Text.width(of: word[start])
            var hasSingle = false
            var node = ByteTrie.root
            var end = start
            while end < word.count, let next = trie.child(of: node, word[end]) {
                node = next
                end += 1
                let id = trie.value(at: node)
                if id >= 0 {
                    offer(end, scores[Int(id)] + here, from: start, id)
                    if end == single { hasSingle = true }
                }
            }
            if !hasSingle { offer(single, unknownScore + here, from: start, unknown) }
            start = single
        }
    }
}
