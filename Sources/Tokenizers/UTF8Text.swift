/// Reading Unicode scalars from bytes that are known to be valid UTF-8 (they come from a `String`).
extension UnsafeBufferPointer<UInt8> {
    /// The scalar that begins at a byte position.
    @inline(__always)
    func scalar(at index: Int) -> Unicode.Scalar {
        let lead = UInt32(self[index])
        let value: UInt32 =
            switch UTF8Text.width(of: self[index]) {
            case 1: lead
            case 2: (lead & 0x1F) << 6 | continuation(index + 1)
            case 3: (lead & 0x0F) << 12 | continuation(index + 1) << 6 | continuation(index + 2)
            default:
                (lead & 0x07) << 18 | continuation(index + 1) << 12 | continuation(index + 2) << 6
                    | continuation(index + 3)
            }
        return Unicode.Scalar(value) ?? "\u{FFFD}"
    }

    @inline(__always)
    private func continuation(_ index: Int) -> UInt32 { UInt32(self[index] & 0x3F) }
}

package enum UTF8Text {
    /// The number of bytes of the scalar that a lead byte begins.
    @inline(__always)
    static func width(of lead: UInt8) -> Int {
        lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4
    }

    /// The position of the first byte of the scalar that ends before `end`.
    static func start(ofScalarBefore end: Int, in bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var index = end - 1
        while index > 0, bytes[index] & 0xC0 == 0x80 { index -= 1 }
        return index
    }

    /// The bytes without the white space (Unicode White_Space) at the chosen ends.
    static func trimming(_ bytes: UnsafeBufferPointer<UInt8>, left: Bool, right: Bool) -> Range<Int> {
        var low = 0
        var high = bytes.count
        while left, low < high, bytes.scalar(at: low).isWhiteSpace { low += width(of: bytes[low]) }
        while right, low < high {
            let start = start(ofScalarBefore: high, in: bytes)
            guard bytes.scalar(at: start).isWhiteSpace else { break }
            high = start
        }
        return low..<high
    }

    /// The bytes of a text without the white space (Unicode White_Space) at its ends.
    package static func trimmed(_ text: String) -> ArraySlice<UInt8> {
        let bytes = Array(text.utf8)
        return bytes.withUnsafeBufferPointer { bytes[trimming($0, left: true, right: true)] }
    }
}

extension Unicode.Scalar {
    /// Unicode White_Space, U+0085 included.
    @inline(__always)
    var isWhiteSpace: Bool {
        value < 0x80 ? value == 0x20 || (0x09...0x0D).contains(value) : properties.isWhitespace
    }

    /// Category P, or any ASCII symbol: what BERT splits words at.
    var isBertPunctuation: Bool {
        switch value {
        case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: true
        case 0..<0x80: false
        default:
            switch properties.generalCategory {
            case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation,
                .initialPunctuation,
                .finalPunctuation, .otherPunctuation:
                true
            default: false
            }
        }
    }

    /// What a regular expression calls `\w`.
    var isWordCharacter: Bool {
        if properties.isAlphabetic || properties.isJoinControl { return true }
        return switch properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: true
        default: false
        }
    }
}
