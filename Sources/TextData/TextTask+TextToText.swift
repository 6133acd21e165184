import Tokenizers

/// How a text-to-text model reads a task and how its answers are understood.
extension TextTask {
    /// The text that the model reads for a row.
    public func source(of row: Row) -> String {
        let named = row.fields.map { "\($0.name): \($0.text)" }.joined(separator: " ")
        if specification.kind == .glue, let name = specification.name { return "\(name.rawValue) \(named)" }
        return row.fields.count == 1 ? row.fields[0].text : named
    }

    /// The text that the model is to write for a row; empty without a label.
    public func target(of row: Row) -> String {
        switch row.label {
        case .index(let index)?: labelWord(index)
        case .score(let score)?:
            // Multiples of 0.2, halves of one to the even neighbour, as T5 was trained on STS-B.
            specification.name == .stsb && specification.kind == .glue
                ? Self.oneDecimal(tenths: (score * 5).rounded(.toNearestOrEven) * 2)
                : Self.oneDecimal(tenths: (score * 10).rounded(.toNearestOrEven))
        case .text(let text)?: text
        case nil: ""
        }
    }

    /// How a class is spelled.
    func labelWord(_ index: Int) -> String {
        specification.labelStyle == .digits ? String(index) : classes?.names[index] ?? ""
    }

    /// The class that a written text spells, white space around it aside; nil for any other text.
    public func classIndex(of text: String) -> Int? {
        let bytes = Array(text.utf8)
        let kept = UTF8Text.trimmed(text)
        if specification.labelStyle == .digits {
            let index = bytes.count < 10 ? Int(String(decoding: kept, as: UTF8.self)) : nil
            return index.flatMap { (classes?.names.indices ?? 0..<0).contains($0) ? $0 : nil }
        }
        return classes?.names.firstIndex { UTF8Text.trimmed($0).elementsEqual(kept) }
    }

    /// The number that a written text spells, -1 for any other text.
    public func score(of text: String) -> Float {
        decimalNumber(text).map { Float($0) } ?? -1
    }

    private static func oneDecimal(tenths: Double) -> String {
        // Beyond this a Double has no tenths.
        guard let whole = Int64(exactly: tenths)?.magnitude else { return "\(tenths / 10)" }
        return "\(tenths < 0 ? "-" : "")\(whole / 10).\(whole % 10)"
    }
}
