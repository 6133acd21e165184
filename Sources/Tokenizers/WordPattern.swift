import Support

/// How a byte-level tokenizer cuts text into words: the published regular expressions, each as a scanner by hand.
///
/// An expression is recognised by its exact text. The alternatives are tried in the expression's order; every text is
/// covered without gaps.
struct WordPattern: Sendable {
    private enum Kind: Sendable {
        case gpt2
        /// Llama 3's (up to three digits a word) and Qwen2's (one).
        case lines(digits: Int)
    }

    /// The expression that `ByteLevel` stands for with `use_regex`.
    static let gpt2 = WordPattern(kind: .gpt2)
    static let qwen2 = WordPattern(kind: .lines(digits: 1))

    private static let known: [(expression: String, kind: Kind)] = [
        (#"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#, .gpt2),
        (linesExpression(numbers: #"\p{N}{1,3}"#), .lines(digits: 3)),
        (linesExpression(numbers: #"\p{N}"#), .lines(digits: 1)),
    ]

    private static func linesExpression(numbers: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"# + numbers
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    private let kind: Kind
    private let basicPlane = ScalarClass.basicPlane

    private init(kind: Kind) { self.kind = kind }

    /// Reads a published expression. Throws for any other, which is named.
    init(_ field: JSONReader) throws {
        let text = try field.string()
        guard let found = Self.known.first(where: { $0.expression.utf8.elementsEqual(text.utf8) }) else {
            throw Failure.configuration(
                "\(field.place): expected the word pattern of GPT-2, Llama 3 or Qwen2, found \"\(text)\"")
        }
        self.init(kind: found.kind)
    }

    /// Shows the words of a text in order.
    @inline(__always)
    func visitWords(of text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        basicPlane.withUnsafeBufferPointer { classes in
            let scanner = WordScanner(text: text, classes: classes)
            var start = 0
            while start < text.count {
                let end =
                    switch kind {
                    case .gpt2: scanner.endOfGPT2Word(from: start)
                    case .lines(let digits): scanner.endOfWordOrLine(from: start, digits: digits)
                    }
                body(start..<end)
                start = end
            }
        }
    }
}

/// Finds where the word ends that begins at a position of one text.
private struct WordScanner {
    let text: UnsafeBufferPointer<UInt8>
    let classes: UnsafeBufferPointer<ScalarClass>

    func endOfGPT2Word(from start: Int) -> Int {
        if let end = endOfContraction(from: start, ignoringCase: false) { return end }
        let first = classOf(start)
        if first != .space { return endOfRun(first, from: start) }
        if text[start] == 0x20, start + 1 < text.count {
            let next = classOf(start + 1)
            if next != .space { return endOfRun(next, from: start + 1) }
        }
        return endOfSpaces(from: start)
    }

    func endOfWordOrLine(from start: Int, digits: Int) -> Int {
        if let end = endOfContraction(from: start, ignoringCase: true) { return end }
        let first = classOf(start)
        let next = start + UTF8Text.width(of: text[start])
        switch first {
        case .letter: return endOfRun(.letter, from: start)
        case .number:
            var end = next
            var count = 1
            while count < digits, end < text.count, classOf(end) == .number {
                end += UTF8Text.width(of: text[end])
                count += 1
            }
            return end
        case .space, .other:
            let follower = next < text.count ? classOf(next) : .space
            if follower == .letter, !isNewline(start) { return endOfRun(.letter, from: next) }
            if first == .other { return endOfNewlines(from: endOfRun(.other, from: start)) }
            if follower == .other, text[start] == 0x20 {
                return endOfNewlines(from: endOfRun(.other, from: next))
            }
            return endOfLine(from: start) ?? endOfSpaces(from: start)
        }
    }

    @inline(__always)
    private func classOf(_ index: Int) -> ScalarClass {
        if text[index] < 0x80 { return classes[Int(text[index])] }
        let scalar = text.scalar(at: index)
        return scalar.value < 0x10000 ? classes[Int(scalar.value)] : ScalarClass(scalar)
    }

    @inline(__always)
    private func isNewline(_ index: Int) -> Bool { text[index] == 0x0A || text[index] == 0x0D }

    @inline(__always)
    private func endOfRun(_ kind: ScalarClass, from start: Int) -> Int {
        var end = start
        while end < text.count, classOf(end) == kind { end += UTF8Text.width(of: text[end]) }
        return end
    }

    private func endOfNewlines(from start: Int) -> Int {
        var end = start
        while end < text.count, isNewline(end) { end += 1 }
        return end
    }

    /// `\s+(?!\S)|\s+`: all the white space, but one less when a word follows and more than one is there.
    private func endOfSpaces(from start: Int) -> Int {
        let end = endOfRun(.space, from: start)
        guard end < text.count else { return end }
        let last = UTF8Text.start(ofScalarBefore: end, in: text)
        return last > start ? last : end
    }

    /// `\s*[\r\n]+`: up to the last line end of the white space; nil when there is none.
    private func endOfLine(from start: Int) -> Int? {
        var end = endOfRun(.space, from: start)
        while end > start, !isNewline(end - 1) { end -= 1 }
        return end > start ? end : nil
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d`
    @inline(__always)
    private func endOfContraction(from start: Int, ignoringCase: Bool) -> Int? {
        guard text[start] == 0x27, start + 1 < text.count else { return nil }
        let mask: UInt8 = ignoringCase ? 0x20 : 0
        func byte(_ offset: Int) -> UInt8 {
            guard start + offset < text.count else { return 0 }
            let byte = text[start + offset]
            return (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | mask : byte
        }
        switch (byte(1), byte(2)) {
        case (UInt8(ascii: "s"), _), (UInt8(ascii: "t"), _), (UInt8(ascii: "m"), _), (UInt8(ascii: "d"), _):
            return start + 2
        case (UInt8(ascii: "r"), UInt8(ascii: "e")), (UInt8(ascii: "v"), UInt8(ascii: "e")),
            (UInt8(ascii: "l"), UInt8(ascii: "l")):
            return start + 3
        // U+017F, the long s, is an s when case does not count.
        case (0xC5, 0xBF) where ignoringCase: return start + 3
        default: return nil
        }
    }
}

/// Cuts text into the words of a pattern (`Split` with `behavior` `Isolated`).
struct PatternSplit: PreTokenizer {
    private let pattern: WordPattern

    init(_ pattern: WordPattern) { self.pattern = pattern }

    init(_ object: JSONObjectReader) throws {
        _ = try object.required("behavior").choice(["Isolated"])
        if let invert = object.optional("invert"), try invert.bool() {
            throw invert.failure(expected: "false (an inverted pattern is not supported)")
        }
        pattern = try WordPattern(try object.required("pattern").object().required("Regex"))
    }

    func split(_ pieces: Pieces) -> Pieces {
        pieces.cut { text, cut in pattern.visitWords(of: text) { cut($0.upperBound) } }
    }
}
