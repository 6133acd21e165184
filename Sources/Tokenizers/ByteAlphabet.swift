/// The 256 characters that stand for bytes in a byte-level vocabulary (GPT-2): a visible Latin-1 character stands for its
/// own code, the other bytes take the characters from U+0100 on, in order.
enum ByteAlphabet {
    /// The code of every byte's character.
    static let codes: [UInt16] = {
        var next: UInt16 = 0x100
        return (0...UInt8.max).map { byte in
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF: return UInt16(byte)
            default:
                defer { next += 1 }
                return next
            }
        }
    }()

    /// The characters in UTF-8, one byte or two: the first in the low half, the second in the high half or 0.
    static let utf8: [UInt16] = codes.map { code in
        code < 0x80 ? code : 0xC0 | code >> 6 | (0x80 | code & 0x3F) << 8
    }

    /// The byte of every character of the alphabet, by code; nil where a code is no such character.
    static let bytes: [UInt8?] = {
        var bytes = [UInt8?](repeating: nil, count: 0x144)
        for (byte, code) in codes.enumerated() { bytes[Int(code)] = UInt8(byte) }
        return bytes
    }()

    /// The bytes that a token of a byte-level vocabulary stands for; nil when it has a character outside the alphabet.
    static func bytes(of token: String) -> [UInt8]? {
        var out: [UInt8] = []
        out.reserveCapacity(token.utf8.count)
        for scalar in token.unicodeScalars {
            guard scalar.value < bytes.count, let byte = bytes[Int(scalar.value)] else { return nil }
            out.append(byte)
        }
        return out
    }
}
