import Support

/// A token that is found in the text itself, before any model sees it.
struct AddedToken: Sendable {
    let id: Int32
    let content: String
    /// Only where no word character touches it.
    let isSingleWord: Bool
    /// Swallows the white space before or after it.
    let stripsLeft: Bool
    let stripsRight: Bool
    /// Looked for in the normalised text instead of the raw one.
    let isNormalized: Bool
    let isSpecial: Bool

    private static let idRange = 0...(1 << 24)

    /// A special token that is found in the raw text.
    init(special content: String, id: Int32, stripsLeft: Bool = false, stripsRight: Bool = false) {
        self.id = id
        self.content = content
        self.stripsLeft = stripsLeft
        self.stripsRight = stripsRight
        isSingleWord = false
        isNormalized = false
        isSpecial = true
    }

    /// Reads an item of `added_tokens`.
    init(_ reader: JSONReader) throws {
        let object = try reader.object()
        try self.init(object, id: Int32(try object.required("id").integer(in: Self.idRange)))
    }

    /// Reads a member of `added_tokens_decoder`, whose key is the id.
    init(key: String, _ reader: JSONReader) throws {
        guard let id = Int(key), Self.idRange.contains(id) else {
            throw Failure.configuration("\(reader.place): expected an id as the key, found \"\(key)\"")
        }
        try self.init(try reader.object(), id: Int32(id))
    }

    private init(_ object: JSONObjectReader, id: Int32) throws {
        self.id = id
        content = try object.required("content").string()
        guard !content.isEmpty else {
            throw try object.required("content").failure(expected: "a token that is not empty")
        }
        isSingleWord = try object.optional("single_word")?.bool() ?? false
        stripsLeft = try object.optional("lstrip")?.bool() ?? false
        stripsRight = try object.optional("rstrip")?.bool() ?? false
        isNormalized = try object.optional("normalized")?.bool() ?? false
        isSpecial = try object.optional("special")?.bool() ?? false
    }
}

/// Cuts added tokens out of a text: leftmost first, the longest of those that begin there.
struct AddedTokenMatcher: Sendable {
    enum Section {
        case text([UInt8])
        case token(Int32)
    }

    private let trie: ByteTrie
    private let firstBytes: [Bool]
    private let tokens: [AddedToken]

    /// - Parameter spelling: the bytes under which a token is looked for.
    init(_ tokens: [AddedToken], spelling: (AddedToken) -> [UInt8]) {
        self.tokens = tokens
        let trie = ByteTrie(tokens.enumerated().map { (spelling($1), Int32($0)) })
        firstBytes = (0...UInt8.max).map { trie.child(of: ByteTrie.root, $0) != nil }
        self.trie = trie
    }

    func sections(of text: [UInt8]) -> [Section] {
        var out: [Section] = []
        var done = 0
        text.withUnsafeBufferPointer { bytes in
            var index = 0
            while index < bytes.count {
                guard firstBytes[Int(bytes[index])], let match = longestMatch(in: bytes, at: index) else {
                    index += 1
                    continue
                }
                let token = tokens[match.token]
                if token.isSingleWord, touchesWord(bytes, index..<match.end) {
                    index = match.end
                    continue
                }
                var (low, high) = (index, match.end)
                while token.stripsLeft, low > done {
                    let start = UTF8Text.start(ofScalarBefore: low, in: bytes)
                    guard bytes.scalar(at: start).isWhiteSpace else { break }
                    low = start
                }
                while token.stripsRight, high < bytes.count, bytes.scalar(at: high).isWhiteSpace {
                    high += UTF8Text.width(of: bytes[high])
                }
                if low > done { out.append(.text(Array(text[done..<low]))) }
                out.append(.token(token.id))
                done = high
                index = high
            }
        }
        if done == 0 { return text.isEmpty ? [] : [.text(text)] }
        if done < text.count { out.append(.text(Array(text[done...]))) }
        return out
    }

    private func longestMatch(in bytes: UnsafeBufferPointer<UInt8>, at start: Int) -> (token: Int, end: Int)?
    {
        var found: (token: Int, end: Int)?
        var node = ByteTrie.root
        var index = start
        while index < bytes.count, let next = trie.child(of: node, bytes[index]) {
            node = next
            index += 1
            if trie.value(at: node) >= 0 { found = (Int(trie.value(at: node)), index) }
        }
        return found
    }

    private func touchesWord(_ bytes: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Bool {
        if range.lowerBound > 0,
            bytes.scalar(at: UTF8Text.start(ofScalarBefore: range.lowerBound, in: bytes)).isWordCharacter
        {
            return true
        }
        return range.upperBound < bytes.count && bytes.scalar(at: range.upperBound).isWordCharacter
    }
}
