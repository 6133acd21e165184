import Support

/// Writes every byte as the character that stands for it, after cutting text into GPT-2's words where the file says so.
struct ByteLevel: PreTokenizer {
    private let addsPrefixSpace: Bool
    private let pattern: WordPattern?
    private let utf8 = ByteAlphabet.utf8

    init(addsPrefixSpace: Bool, pattern: WordPattern?) {
        self.addsPrefixSpace = addsPrefixSpace
        self.pattern = pattern
    }

    init(_ object: JSONObjectReader) throws {
        let usesPattern = try object.optional("use_regex")?.bool() ?? true
        self.init(
            addsPrefixSpace: try object.required("add_prefix_space").bool(),
            pattern: usesPattern ? .gpt2 : nil)
    }

    func split(_ pieces: Pieces) -> Pieces {
        var out = Pieces(capacity: pieces.bytes.count * 9 / 8 + 8)
        pieces.visit { text in
            if addsPrefixSpace, text.first != 0x20 {
                ([0x20] + text).withUnsafeBufferPointer { append($0, to: &out) }
            } else {
                append(text, to: &out)
            }
        }
        return out
    }

    private func append(_ text: UnsafeBufferPointer<UInt8>, to out: inout Pieces) {
        guard let pattern else { return append(text, 0..<text.count, to: &out) }
        pattern.visitWords(of: text) { append(text, $0, to: &out) }
    }

    @inline(__always)
    private func append(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, to out: inout Pieces) {
        for index in range {
            let code = utf8[Int(text[index])]
            out.append(UInt8(truncatingIfNeeded: code))
            if code > 0xFF { out.append(UInt8(code >> 8)) }
        }
        out.close()
    }
}

/// Makes bytes of the characters that stand for them, and text of all bytes together; bytes that are no UTF-8 become
/// U+FFFD. A token with a character outside the alphabet is taken as it is written.
struct ByteLevelDecoder: TokenDecoder {
    func decode(_ tokens: [String]) -> [String] {
        var bytes: [UInt8] = []
        for token in tokens { bytes += ByteAlphabet.bytes(of: token) ?? Array(token.utf8) }
        return [String(decoding: bytes, as: UTF8.self)]
    }
}
