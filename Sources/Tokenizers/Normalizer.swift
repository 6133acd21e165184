import Support

/// Rewrites text before it is cut into words. Text is valid UTF-8 on both sides.
protocol Normalizer: Sendable {
    func normalize(_ text: [UInt8]) -> [UInt8]
}

/// No change at all (`"normalizer": null`).
struct IdentityNormalizer: Normalizer {
    func normalize(_ text: [UInt8]) -> [UInt8] { text }
}

/// One normaliser after the other.
struct SequenceNormalizer: Normalizer {
    let parts: [any Normalizer]

    func normalize(_ text: [UInt8]) -> [UInt8] { parts.reduce(text) { $1.normalize($0) } }
}

/// Removes white space at the ends.
struct StripNormalizer: Normalizer {
    let left: Bool
    let right: Bool

    init(left: Bool, right: Bool) {
        self.left = left
        self.right = right
    }

    init(_ object: JSONObjectReader) throws {
        left = try object.required("strip_left").bool()
        right = try object.required("strip_right").bool()
    }

    func normalize(_ text: [UInt8]) -> [UInt8] {
        let kept = text.withUnsafeBufferPointer { UTF8Text.trimming($0, left: left, right: right) }
        return kept.count == text.count ? text : Array(text[kept])
    }
}

/// Puts a text before every text that is not empty.
struct PrependNormalizer: Normalizer {
    private let prefix: [UInt8]

    init(_ object: JSONObjectReader) throws {
        prefix = Array(try object.required("prepend").string().utf8)
    }

    func normalize(_ text: [UInt8]) -> [UInt8] { text.isEmpty ? text : prefix + text }
}

/// Replaces every occurrence of a text, or every run of one repeated character, by another text.
struct ReplaceNormalizer: Normalizer {
    /// What to find: `unit` at least `minimum` times in a row; a plain text is found once at a time.
    private let unit: [UInt8]
    private let minimum: Int
    private let isRun: Bool
    private let replacement: [UInt8]

    /// Replaces every run of at least `minimum` characters.
    init(runsOf character: Character, minimum: Int, by replacement: String) {
        unit = Array(String(character).utf8)
        self.minimum = minimum
        isRun = true
        self.replacement = Array(replacement.utf8)
    }

    /// Reads `pattern` as a `String` or as a `Regex` of the form `c{n,}` or `c+`, the only ones in use here.
    init(_ object: JSONObjectReader) throws {
        replacement = Array(try object.required("content").string().utf8)
        let pattern = try object.required("pattern")
        let kinds = try pattern.object()
        if let text = kinds.optional("String") {
            unit = Array(try text.string().utf8)
            minimum = 1
            isRun = false
            guard !unit.isEmpty else { throw text.failure(expected: "a text that is not empty") }
        } else {
            let expression = try kinds.required("Regex")
            guard let (scalar, count) = Self.run(try expression.string()) else {
                throw expression.failure(expected: "a regular expression of the form c{n,} or c+")
            }
            unit = Array(String(scalar).utf8)
            minimum = count
            isRun = true
        }
    }

    private static func run(_ expression: String) -> (Character, Int)? {
        guard let scalar = expression.unicodeScalars.first, !"\\^$.|?*+()[]{}".unicodeScalars.contains(scalar)
        else {
            return nil
        }
        let rest = String(expression.unicodeScalars.dropFirst())
        if rest == "+" { return (Character(scalar), 1) }
        guard rest.hasPrefix("{"), rest.hasSuffix(",}"), let count = Int(rest.dropFirst().dropLast(2)),
            count > 0
        else { return nil }
        return (Character(scalar), count)
    }

    func normalize(_ text: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(text.count)
        var index = 0
        while index < text.count {
            var count = 0
            var end = index
            while isRun || count == 0, text.count - end >= unit.count, matches(text, at: end) {
                count += 1
                end += unit.count
            }
            if count >= minimum {
                out += replacement
                index = end
            } else if end > index {
                // A run that is too short is copied whole: its tail is no run of its own.
                out += text[index..<end]
                index = end
            } else {
                out.append(text[index])
                index += 1
            }
        }
        return out
    }

    private func matches(_ text: [UInt8], at index: Int) -> Bool {
        for offset in 0..<unit.count where text[index + offset] != unit[offset] { return false }
        return true
    }
}
