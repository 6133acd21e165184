import Support

/// What a sentencepiece model file (`spiece.model`) says of a Unigram model.
///
/// Field numbers and defaults are those of sentencepiece's `sentencepiece_model.proto`.
struct SentencePieceModel {
    enum Kind: UInt64 {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    struct Piece {
        var text = ""
        var score: Float = 0
        var kind = Kind.normal
    }

    private(set) var pieces: [Piece] = []
    /// The character map, empty when the model leaves text as it is.
    private(set) var characterMap: [UInt8] = []
    /// Whether a text gets a space in front.
    private(set) var addsDummyPrefix = true
    /// Whether runs of spaces count as one and those at the ends not at all.
    private(set) var removesExtraWhitespaces = true
    let file: String

    init(_ bytes: [UInt8], file: String) throws {
        self.file = file
        var reader = ProtobufReader(bytes[...], file: file)
        var fields: Set<Int> = []
        while let (field, value) = try reader.next() {
            fields.insert(field)
            switch (field, value) {
            case (1, .bytes(let piece)): pieces.append(try self.piece(piece))
            case (2, .bytes(let trainer)): try readTrainer(trainer)
            case (3, .bytes(let normalizer)): try readNormalizer(normalizer)
            default: continue
            }
        }
        // Always written; without them the file would be valid and the model another one.
        guard fields.isSuperset(of: [2, 3]) else {
            throw failure("a trainer_spec and a normalizer_spec after the pieces, found the end of the file")
        }
        guard !pieces.isEmpty else { throw failure("at least one piece, found none") }
    }

    private func piece(_ bytes: ArraySlice<UInt8>) throws -> Piece {
        var piece = Piece()
        var reader = ProtobufReader(bytes, file: file)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let text)):
                guard let text = String(validating: text, as: UTF8.self) else {
                    throw failure("UTF-8 in piece \(pieces.count)")
                }
                piece.text = text
            case (2, .float(let score)): piece.score = score
            case (3, .integer(let number)):
                guard let kind = Kind(rawValue: number), kind != .byte else {
                    throw failure("pieces of kind 1 to 5, found \(number) at piece \(pieces.count)")
                }
                piece.kind = kind
            default: continue
            }
        }
        return piece
    }

    private func readTrainer(_ bytes: ArraySlice<UInt8>) throws {
        var reader = ProtobufReader(bytes, file: file)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (3, .integer(let algorithm)) where algorithm != 1:
                throw failure("a Unigram model (model_type 1), found model_type \(algorithm)")
            case (24, .integer(let treatsSpaceAsSuffix)) where treatsSpaceAsSuffix != 0:
                throw failure("a model with spaces before words, found treat_whitespace_as_suffix")
            default: continue
            }
        }
    }

    private mutating func readNormalizer(_ bytes: ArraySlice<UInt8>) throws {
        var reader = ProtobufReader(bytes, file: file)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (2, .bytes(let map)): characterMap = Array(map)
            case (3, .integer(let flag)): addsDummyPrefix = flag != 0
            case (4, .integer(let flag)): removesExtraWhitespaces = flag != 0
            case (5, .integer(0)):
                throw failure("a model that writes spaces as ▁, found escape_whitespaces false")
            default: continue
            }
        }
    }

    func failure(_ expected: String) -> Failure { .configuration("\(file): expected \(expected)") }
}
