import Support

/// Turns tokens back into text: into pieces that are then joined, so that decoders can follow each other.
protocol TokenDecoder: Sendable {
    func decode(_ tokens: [String]) -> [String]
}

/// Tokens parted by spaces (`"decoder": null`).
struct SpaceDecoder: TokenDecoder {
    func decode(_ tokens: [String]) -> [String] { tokens.enumerated().map { $0 == 0 ? $1 : " " + $1 } }
}

/// Glues continuation pieces to the word before them and, with `cleanup`, closes the gap before English punctuation and
/// contractions.
struct WordPieceDecoder: TokenDecoder {
    /// In the order in which they apply, to one token with its leading space. Source: tokenizers' `decoders::wordpiece`.
    private static let gaps: [(String, String)] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ]
    private let prefix: [UInt8]
    private let cleansUp: Bool

    init(_ object: JSONObjectReader) throws {
        prefix = Array(try object.required("prefix").string().utf8)
        cleansUp = try object.optional("cleanup")?.bool() ?? true
    }

    func decode(_ tokens: [String]) -> [String] {
        tokens.enumerated().map { index, token in
            var bytes = Array(token.utf8)
            if index > 0 {
                if bytes.starts(with: prefix) {
                    bytes.removeFirst(prefix.count)
                } else {
                    bytes.insert(0x20, at: 0)
                }
            }
            if cleansUp {
                for (gap, closed) in Self.gaps {
                    Self.replace(Array(gap.utf8), Array(closed.utf8), in: &bytes)
                }
            }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    private static func replace(_ old: [UInt8], _ new: [UInt8], in bytes: inout [UInt8]) {
        var index = 0
        while index + old.count <= bytes.count {
            if bytes[index..<index + old.count].elementsEqual(old) {
                bytes.replaceSubrange(index..<index + old.count, with: new)
                index += new.count
            } else {
                index += 1
            }
        }
    }
}

/// Makes the visible marks spaces again and drops those of the first token.
struct MetaspaceDecoder: TokenDecoder {
    private let settings: MetaspaceSettings

    init(_ settings: MetaspaceSettings) { self.settings = settings }

    init(_ object: JSONObjectReader) throws { settings = try MetaspaceSettings(object) }

    func decode(_ tokens: [String]) -> [String] {
        tokens.enumerated().map { index, token in
            var out = String.UnicodeScalarView()
            for scalar in token.unicodeScalars {
                if scalar != settings.mark {
                    out.append(scalar)
                } else if index > 0 || !settings.prepends {
                    out.append(" ")
                }
            }
            return String(out)
        }
    }
}
