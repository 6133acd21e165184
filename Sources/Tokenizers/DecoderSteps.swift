import Support

/// One decoder after the other (`"type": "Sequence"`).
struct SequenceDecoder: TokenDecoder {
    let parts: [any TokenDecoder]

    func decode(_ tokens: [String]) -> [String] { parts.reduce(tokens) { $1.decode($0) } }
}

/// Replaces a text within every token.
struct ReplaceDecoder: TokenDecoder {
    private let replacement: ReplaceNormalizer

    init(_ object: JSONObjectReader) throws { replacement = try ReplaceNormalizer(object) }

    func decode(_ tokens: [String]) -> [String] {
        tokens.map { String(decoding: replacement.normalize(Array($0.utf8)), as: UTF8.self) }
    }
}

/// Makes text of the tokens `<0xNN>` that stand side by side; where their bytes are no UTF-8, each is U+FFFD.
struct ByteFallbackDecoder: TokenDecoder {
    /// The token that stands for a byte.
    static func token(of byte: UInt8) -> String {
        "<0x" + (byte < 0x10 ? "0" : "") + String(byte, radix: 16, uppercase: true) + ">"
    }

    private static func byte(of token: String) -> UInt8? {
        let text = Array(token.utf8)
        guard text.count == 6, text.starts(with: "<0x".utf8), text[5] == UInt8(ascii: ">") else { return nil }
        return UInt8(String(decoding: text[3..<5], as: UTF8.self), radix: 16)
    }

    func decode(_ tokens: [String]) -> [String] {
        var out: [String] = []
        var pending: [UInt8] = []
        func flush() {
            if let text = String(validating: pending, as: UTF8.self) {
                if !text.isEmpty { out.append(text) }
            } else {
                out += repeatElement("\u{FFFD}", count: pending.count)
            }
            pending.removeAll(keepingCapacity: true)
        }
        for token in tokens {
            if let byte = Self.byte(of: token) {
                pending.append(byte)
            } else {
                flush()
                out.append(token)
            }
        }
        flush()
        return out
    }
}

/// Makes one token of all.
struct FuseDecoder: TokenDecoder {
    func decode(_ tokens: [String]) -> [String] { [tokens.joined()] }
}

/// Removes a character from the ends of every token, so many times at most.
struct StripDecoder: TokenDecoder {
    private let content: Unicode.Scalar
    private let start: Int
    private let stop: Int

    init(_ object: JSONObjectReader) throws {
        let field = try object.required("content")
        let scalars = Array(try field.string().unicodeScalars)
        guard scalars.count == 1 else { throw field.failure(expected: "one character") }
        content = scalars[0]
        start = try object.required("start").integer(in: 0...Int(Int32.max))
        stop = try object.required("stop").integer(in: 0...Int(Int32.max))
    }

    func decode(_ tokens: [String]) -> [String] {
        tokens.map { token in
            let scalars = Array(token.unicodeScalars)
            let low = scalars.prefix(start).prefix { $0 == content }.count
            let high = scalars.count - scalars.suffix(stop).reversed().prefix { $0 == content }.count
            var kept = String.UnicodeScalarView()
            kept.append(contentsOf: scalars[low..<max(low, high)])
            return String(kept)
        }
    }
}
