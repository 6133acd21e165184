import Support

/// Which two neighbouring tokens become one, and how early: a hash table with linear probing, keyed by both ids.
struct MergeTable: Sendable {
    struct Merge: Sendable {
        fileprivate var left: Int32 = -1
        fileprivate var right: Int32 = -1
        /// The merge's place in the file; the lowest comes first.
        fileprivate(set) var rank: UInt32 = 0
        /// What the two become.
        fileprivate(set) var token: Int32 = -1
    }

    private var slots: [Merge]
    private let shift: UInt64

    /// - Parameter count: how many merges will be inserted at most.
    private init(count: Int) {
        var bits = 4
        while 1 << bits < count * 2 { bits += 1 }
        slots = Array(repeating: Merge(), count: 1 << bits)
        shift = UInt64(64 - bits)
    }

    /// Reads `merges`: `["a", "b"]` in new files, `"a b"` in older ones.
    init(_ field: JSONReader, tokens: ByteTrie) throws {
        guard let items = field.value.array, items.count < Int(UInt32.max) else {
            throw field.failure(expected: "an array of merges")
        }
        self.init(count: items.count)
        for (rank, item) in items.enumerated() {
            let place = { "\(field.place)[\(rank)]" }
            if let text = item.string {
                try insert(
                    text.utf8.split(separator: 0x20, omittingEmptySubsequences: false), rank, tokens, place)
            } else {
                try insert((item.array ?? []).compactMap { $0.string?.utf8[...] }, rank, tokens, place)
            }
        }
    }

    /// Reads the lines of a `merges.txt`.
    init(file: String, bytes: [UInt8], tokens: ByteTrie) throws {
        var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        self.init(count: lines.count)
        var rank = 0
        for (number, line) in lines.enumerated() {
            if line.starts(with: "#version".utf8) { continue }
            let text = String(decoding: line.last == 0x0D ? line.dropLast() : line, as: UTF8.self)
            try insert(text.utf8.split(separator: 0x20, omittingEmptySubsequences: false), rank, tokens) {
                "\(file):\(number + 1)"
            }
            rank += 1
        }
    }

    private mutating func insert(
        _ parts: [Substring.UTF8View], _ rank: Int, _ tokens: ByteTrie, _ place: () -> String
    ) throws {
        guard parts.count == 2 else {
            throw Failure.configuration("\(place()): expected a merge of two tokens")
        }
        func id(_ token: some Sequence<UInt8>) throws -> Int32 {
            guard let id = tokens[token] else {
                throw Failure.configuration(
                    "\(place()): expected tokens of the vocabulary, found \"\(String(decoding: Array(token), as: UTF8.self))\""
                )
            }
            return id
        }
        let merge = Merge(
            left: try id(parts[0]), right: try id(parts[1]), rank: UInt32(rank),
            token: try id(Array(parts[0]) + Array(parts[1])))
        // Of two equal merges the later counts, as in the reference library.
        slots[slot(merge.left, merge.right)] = merge
    }

    /// The merge of two neighbouring tokens; nil when they stay apart.
    @inline(__always)
    func merge(_ left: Int32, _ right: Int32) -> Merge? {
        let found = slots[slot(left, right)]
        return found.left < 0 ? nil : found
    }

    /// Where a pair is, or the free slot where it would be.
    @inline(__always)
    private func slot(_ left: Int32, _ right: Int32) -> Int {
        let key = UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
        // Fibonacci hashing: the top bits of a product with 2^64 divided by the golden ratio.
        var index = Int((key &* 0x9E37_79B9_7F4A_7C15) >> shift)
        while slots[index].left >= 0, slots[index].left != left || slots[index].right != right {
            index = (index + 1) & (slots.count - 1)
        }
        return index
    }
}
