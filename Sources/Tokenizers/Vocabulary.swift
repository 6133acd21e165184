import Support

/// The tokens of a model, by id and by bytes.
struct Vocabulary {
    /// More would be a damaged file; the largest vocabularies in use have about 260,000.
    private static let maximumSize = 1 << 22

    private(set) var tokens: [String?]
    let trie: ByteTrie
    /// The log-probability of every id; empty when the file has none.
    private(set) var scores: [Double] = []

    /// Reads `{"token": id, ...}`.
    init(tokensToIDs field: JSONReader) throws {
        guard let members = field.value.members, !members.isEmpty else {
            throw field.failure(expected: "an object of tokens and ids")
        }
        tokens = Array(repeating: nil, count: members.count)
        for member in members {
            guard let id = member.value.integer, 0..<Self.maximumSize ~= id else {
                throw Failure.configuration(
                    "\(field.file):\(member.line): \(field.path): expected an id for the token \"\(member.key)\", "
                        + "found \(member.value.kindDescription)")
            }
            while tokens.count <= id { tokens.append(nil) }
            guard tokens[id] == nil else {
                throw Failure.configuration(
                    "\(field.file):\(member.line): \(field.path): the id \(id) stands twice, at \"\(member.key)\""
                )
            }
            tokens[id] = member.key
        }
        trie = Self.trie(of: tokens)
    }

    /// Reads `[["token", score], ...]`, where the position is the id.
    init(scoredTokens field: JSONReader) throws {
        guard let items = field.value.array, !items.isEmpty, items.count <= Self.maximumSize else {
            throw field.failure(expected: "an array of tokens and scores")
        }
        tokens = []
        for (id, item) in items.enumerated() {
            guard let pair = item.array, pair.count == 2, let token = pair[0].string,
                let score = pair[1].number
            else {
                throw Failure.configuration(
                    "\(field.place)[\(id)]: expected a token and its score, found \(item.kindDescription)")
            }
            tokens.append(token)
            scores.append(score)
        }
        trie = Self.trie(of: tokens)
    }

    /// The position is the id.
    init(_ pieces: [(token: String, score: Double)]) {
        tokens = pieces.map(\.token)
        scores = pieces.map(\.score)
        trie = Self.trie(of: tokens)
    }

    /// Of two equal tokens the last counts, as in the reference library.
    private static func trie(of tokens: [String?]) -> ByteTrie {
        ByteTrie(tokens.enumerated().compactMap { id, token in token.map { (Array($0.utf8), Int32(id)) } })
    }
}
