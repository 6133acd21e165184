import Foundation

/// Canonical composition (Unicode NFC).
///
/// Foundation knows the mappings; the order of marks and Hangul syllables are done here, because Foundation does not order
/// marks that come of a decomposition (U+0F73 twice) and leaves a syllable and the final consonant after it apart.
struct ComposingNormalizer: Normalizer {
    func normalize(_ text: [UInt8]) -> [UInt8] {
        guard text.contains(where: Self.mayChange) else { return text }
        var out: [UInt8] = []
        out.reserveCapacity(text.count)
        var index = 0
        while let first = text[index...].firstIndex(where: { $0 >= 0x80 }) {
            // ASCII composes with what follows it and never with what stands before.
            let start = max(index, first - 1)
            let end = text[first...].firstIndex { $0 < 0x80 } ?? text.count
            out += text[index..<start]
            let run = text[start..<end]
            if run.contains(where: Self.mayChange) { out += Self.compose(run) } else { out += run }
            index = end
        }
        return out + text[index...]
    }

    /// Whether a byte begins a scalar from U+0300 on; everything below is composed already.
    private static func mayChange(_ byte: UInt8) -> Bool { byte >= 0xCC }

    private static func compose(_ text: ArraySlice<UInt8>) -> String.UTF8View {
        let decomposed = String(decoding: text, as: UTF8.self).decomposedStringWithCanonicalMapping
        return joiningHangul(ordered(decomposed).precomposedStringWithCanonicalMapping).utf8
    }

    /// The text with every run of marks in the order of their combining classes, equal classes as they stand.
    private static func ordered(_ text: String) -> String {
        var scalars = Array(text.unicodeScalars)
        let classes = scalars.map { $0.value < 0x300 ? 0 : $0.properties.canonicalCombiningClass.rawValue }
        var start = 0
        while start < scalars.count {
            guard classes[start] > 0 else {
                start += 1
                continue
            }
            let end = classes[start...].firstIndex(of: 0) ?? scalars.count
            // The sort is stable.
            let order = (start..<end).sorted { classes[$0] < classes[$1] }
            scalars.replaceSubrange(start..<end, with: order.map { scalars[$0] })
            start = end
        }
        return String(String.UnicodeScalarView(scalars))
    }

    /// The text with every pair of a syllable without final consonant and a final consonant made one syllable.
    private static func joiningHangul(_ text: String) -> String {
        let syllables: ClosedRange<UInt32> = 0xAC00...0xD7A3
        /// U+11A8 is the first final consonant; the code before it stands for none.
        let finals: ClosedRange<UInt32> = 0x11A8...0x11C2
        guard text.unicodeScalars.contains(where: { finals.contains($0.value) }) else { return text }
        var out = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            if finals.contains(scalar.value), let last = out.last?.value, syllables.contains(last),
                (last - syllables.lowerBound) % 28 == 0,
                let joined = Unicode.Scalar(last + scalar.value - finals.lowerBound + 1)
            {
                out.removeLast()
                out.append(joined)
            } else {
                out.append(scalar)
            }
        }
        return String(out)
    }
}
