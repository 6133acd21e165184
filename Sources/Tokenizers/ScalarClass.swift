/// What the word patterns of byte-level tokenizers tell apart.
enum ScalarClass: UInt8, Sendable {
    /// `\p{L}`
    case letter
    /// `\p{N}`
    case number
    /// `\s`: Unicode White_Space
    case space
    /// Everything else: `[^\s\p{L}\p{N}]`
    case other

    init(_ scalar: Unicode.Scalar) {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter:
            self = .letter
        case .decimalNumber, .letterNumber, .otherNumber: self = .number
        default: self = scalar.isWhiteSpace ? .space : .other
        }
    }

    /// The classes of the Basic Multilingual Plane, by code; surrogates never occur in text.
    static let basicPlane: [ScalarClass] = (0...UInt16.max).map {
        Unicode.Scalar($0).map { ScalarClass($0) } ?? .other
    }
}
