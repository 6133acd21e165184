import Support

/// Pieces of text that will be encoded one by one, packed into one buffer.
struct Pieces {
    private(set) var bytes: [UInt8] = []
    private(set) var ends: [Int] = []

    init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    /// One piece; none when the text is empty.
    init(_ text: [UInt8]) {
        bytes = text
        if !text.isEmpty { ends = [text.count] }
    }

    @inline(__always)
    mutating func append(_ byte: UInt8) { bytes.append(byte) }

    @inline(__always)
    mutating func append(_ more: Slice<UnsafeBufferPointer<UInt8>>) { bytes.append(contentsOf: more) }

    mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }

    /// Whether bytes were appended since the last piece ended.
    var isOpen: Bool { bytes.count > (ends.last ?? 0) }

    /// Ends the current piece; an empty one is no piece.
    @inline(__always)
    mutating func close() { if isOpen { ends.append(bytes.count) } }

    /// The same bytes in smaller pieces: `body` names the end of each within the piece it sees, the last one included.
    func cut(_ body: (UnsafeBufferPointer<UInt8>, (Int) -> Void) -> Void) -> Pieces {
        var out = Pieces()
        out.bytes = bytes
        out.ends.reserveCapacity(bytes.count / 4)
        var start = 0
        visit { text in
            body(text) { out.ends.append(start + $0) }
            start += text.count
        }
        return out
    }

    /// Shows every piece in order.
    func visit(_ body: (UnsafeBufferPointer<UInt8>) -> Void) {
        bytes.withUnsafeBufferPointer { all in
            var start = 0
            for end in ends {
                body(UnsafeBufferPointer(rebasing: all[start..<end]))
                start = end
            }
        }
    }
}

/// Cuts normalised text into the words that the model encodes one by one; may rewrite them.
protocol PreTokenizer: Sendable {
    func split(_ pieces: Pieces) -> Pieces
}

/// Leaves the pieces whole (`"pre_tokenizer": null`).
struct WholePreTokenizer: PreTokenizer {
    func split(_ pieces: Pieces) -> Pieces { pieces }
}

/// One pre-tokenizer after the other.
struct SequencePreTokenizer: PreTokenizer {
    let parts: [any PreTokenizer]

    func split(_ pieces: Pieces) -> Pieces { parts.reduce(pieces) { $1.split($0) } }
}

/// Splits at white space, which is dropped.
struct WhitespaceSplit: PreTokenizer {
    func split(_ pieces: Pieces) -> Pieces {
        var out = Pieces(capacity: pieces.bytes.count)
        pieces.visit { text in
            var index = 0
            while index < text.count {
                let width = UTF8Text.width(of: text[index])
                if text.scalar(at: index).isWhiteSpace {
                    out.close()
                } else {
                    out.append(text[index..<index + width])
                }
                index += width
            }
            out.close()
        }
        return out
    }
}

/// Splits at white space, which is dropped, and sets every punctuation mark apart.
struct BertPreTokenizer: PreTokenizer {
    private enum Class { case space, punctuation, word }
    private static let ascii: [Class] = (0..<128).map { (value: UInt8) in classify(Unicode.Scalar(value)) }

    private static func classify(_ scalar: Unicode.Scalar) -> Class {
        scalar.isWhiteSpace ? .space : scalar.isBertPunctuation ? .punctuation : .word
    }

    func split(_ pieces: Pieces) -> Pieces {
        var out = Pieces(capacity: pieces.bytes.count)
        let ascii = Self.ascii
        pieces.visit { text in
            var index = 0
            while index < text.count {
                let lead = text[index]
                let width = UTF8Text.width(of: lead)
                switch lead < 0x80 ? ascii[Int(lead)] : Self.classify(text.scalar(at: index)) {
                case .space: out.close()
                case .word: for offset in 0..<width { out.append(text[index + offset]) }
                case .punctuation:
                    out.close()
                    out.append(text[index..<index + width])
                    out.close()
                }
                index += width
            }
            out.close()
        }
        return out
    }
}

/// Writes spaces as a visible mark, puts one before every piece, and splits before each mark.
struct Metaspace: PreTokenizer {
    private let mark: [UInt8]
    private let prepends: Bool
    private let splits: Bool

    init(_ settings: MetaspaceSettings, splits: Bool = true) {
        mark = Array(settings.mark.utf8)
        prepends = settings.prepends
        self.splits = splits
    }

    /// Reads both layouts: `prepend_scheme` with `split`, and the older `add_prefix_space`.
    init(_ object: JSONObjectReader) throws {
        self.init(try MetaspaceSettings(object), splits: try object.optional("split")?.bool() ?? true)
    }

    func split(_ pieces: Pieces) -> Pieces {
        var out = Pieces(capacity: pieces.bytes.count * 5 / 4 + 8)
        pieces.visit { text in
            if prepends, text.first != 0x20, !starts(text, at: 0) { out.append(mark) }
            var index = 0
            while index < text.count {
                let isSpace = text[index] == 0x20
                if isSpace || starts(text, at: index) {
                    if splits { out.close() }
                    out.append(mark)
                    index += isSpace ? 1 : mark.count
                } else {
                    out.append(text[index])
                    index += 1
                }
            }
            out.close()
        }
        return out
    }

    @inline(__always)
    private func starts(_ text: UnsafeBufferPointer<UInt8>, at index: Int) -> Bool {
        guard text[index] == mark[0], text.count - index >= mark.count else { return false }
        for offset in 1..<mark.count where text[index + offset] != mark[offset] { return false }
        return true
    }
}

/// What the Metaspace pre-tokenizer and decoder share.
struct MetaspaceSettings {
    let mark: Unicode.Scalar
    let prepends: Bool

    /// sentencepiece's own mark.
    init(prepends: Bool) {
        mark = "\u{2581}"
        self.prepends = prepends
    }

    init(_ object: JSONObjectReader) throws {
        let replacement = try object.required("replacement")
        let scalars = Array(try replacement.string().unicodeScalars)
        guard scalars.count == 1, scalars[0].value >= 0x80 else {
            throw replacement.failure(expected: "one character outside ASCII")
        }
        mark = scalars[0]
        if let scheme = object.optional("prepend_scheme") {
            prepends = try scheme.choice(["always", "never"]) == "always"
        } else {
            prepends = try object.optional("add_prefix_space")?.bool() ?? true
        }
    }
}

extension Unicode.Scalar {
    var utf8: String.UTF8View { String(self).utf8 }
}
