import Foundation
import Support

/// BERT's clean-up: control characters dropped, white space made spaces, CJK ideographs set apart, accents stripped, lower
/// case.
///
/// ASCII goes through a table. Runs of other scalars take the long way; ASCII never decomposes nor combines, so that
/// canonical decomposition of each run alone equals that of the whole text. Source: tokenizers' `BertNormalizer`.
struct BertNormalizer: Normalizer {
    private static let dropped: UInt8 = 0xFF
    private let cleansText: Bool
    private let separatesIdeographs: Bool
    private let stripsAccents: Bool
    private let lowercases: Bool
    /// What each ASCII byte becomes.
    private let ascii: [UInt8]

    init(_ object: JSONObjectReader) throws {
        let cleans = try object.optional("clean_text")?.bool() ?? true
        let lower = try object.optional("lowercase")?.bool() ?? true
        cleansText = cleans
        separatesIdeographs = try object.optional("handle_chinese_chars")?.bool() ?? true
        lowercases = lower
        stripsAccents = try object.optional("strip_accents")?.bool() ?? lower
        ascii = (0..<128).map { (byte: UInt8) in
            switch byte {
            case 0x09, 0x0A, 0x0D: cleans ? 0x20 : byte
            case 0..<0x20, 0x7F: cleans ? Self.dropped : byte
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): lower ? byte + 0x20 : byte
            default: byte
            }
        }
    }

    func normalize(_ text: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(text.count)
        text.withUnsafeBufferPointer { text in
            var index = 0
            while index < text.count {
                let byte = text[index]
                guard byte >= 0x80 else {
                    if ascii[Int(byte)] != Self.dropped { out.append(ascii[Int(byte)]) }
                    index += 1
                    continue
                }
                // What is dropped does not part a base from its marks.
                var end = index
                while end < text.count, text[end] >= 0x80 || ascii[Int(text[end])] == Self.dropped {
                    end += 1
                }
                appendRun(text, index..<end, to: &out)
                index = end
            }
        }
        return out
    }

    private func appendRun(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, to out: inout [UInt8]) {
        var cleaned = String.UnicodeScalarView()
        var index = range.lowerBound
        while index < range.upperBound {
            let scalar = text.scalar(at: index)
            index += UTF8Text.width(of: text[index])
            if cleansText, Self.isDropped(scalar) { continue }
            if cleansText, scalar.isWhiteSpace {
                cleaned.append(" ")
            } else if separatesIdeographs, Self.isIdeograph(scalar) {
                cleaned.append(" ")
                cleaned.append(scalar)
                cleaned.append(" ")
            } else {
                cleaned.append(scalar)
            }
        }
        if stripsAccents {
            let decomposed = String(cleaned).decomposedStringWithCanonicalMapping.unicodeScalars
            cleaned = String.UnicodeScalarView(
                decomposed.lazy.filter { $0.properties.generalCategory != .nonspacingMark })
        }
        for scalar in cleaned {
            if lowercases {
                out.append(contentsOf: scalar.properties.lowercaseMapping.utf8)
            } else {
                out.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
            }
        }
    }

    private static func isDropped(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.value == 0 || scalar.value == 0xFFFD { return true }
        if scalar.value == 0x09 || scalar.value == 0x0A || scalar.value == 0x0D { return false }
        return switch scalar.properties.generalCategory {
        case .control, .format, .privateUse: true
        default: false
        }
    }

    private static func isIdeograph(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
            true
        default: false
        }
    }
}
