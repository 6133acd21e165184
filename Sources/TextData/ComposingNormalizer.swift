import Foundation

/// Canonical composition (Unicode NFC).
///
/// Foundation knows the mappings; the order of marks and Hangul syllables are done here, because Foundation does not order
/// marks that come of a decomposition (U+0F73 twice) and leaves a syllable and the final consonant after it apart.
struct ComposingNormalizer: Normalizer {
    func normalize(_ text: [UInt8]) -> [UInt8] {
        // Below U+0300 (lead byte 0xCC) everything is composed already.
        guard text.contains(where: { $0 >= 0xCC }) else { return text }
        let decomposed = String(decoding: text, as: UTF8.self).decomposedStringWithCanonicalMapping
        let composed = Self.ordered(decomposed).precomposedStringWithCanonicalMapping
        return Array(Self.joiningHangul(composed).utf8)
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
