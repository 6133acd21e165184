import TensorCore

/// What a batch is trained towards.
public enum Targets: Sendable, Equatable {
    case classes([Int32])
    case scores([Float])
    /// One token for each decoder row.
    case tokens([Int32])
    /// Nothing: prediction.
    case none

    /// Terms of the loss: sequences, or supervised tokens.
    public var termCount: Int {
        switch self {
        case .classes(let labels): labels.count
        case .scores(let scores): scores.count
        case .tokens(let tokens): tokens.count
        case .none: 0
        }
    }
}

/// Some samples, packed: all tokens one after the other, no padding.
public struct MicroBatch: Sendable {
    /// Row numbers in the data set; they key dropout.
    public let sampleIDs: [Int]
    public let input: TokenRows
    /// Rows of each sample's input.
    public let inputSpans: [Range<Int>]
    /// The decoder's input tokens: the target shifted right. Empty for encoder models.
    public let decoderInput: TokenRows
    public let decoderSpans: [Range<Int>]
    public let targets: Targets

    /// Packs samples.
    ///
    /// - Parameters: `inputs` and `types` are each sample's tokens; `decoderInputs` each sample's decoder tokens, none for
    ///   encoder models.
    public init(
        sampleIDs: [Int], inputs: [[Int32]], types: [[Int32]], decoderInputs: [[Int32]] = [], targets: Targets
    ) {
        self.sampleIDs = sampleIDs
        (input, inputSpans) = Self.pack(inputs, types)
        (decoderInput, decoderSpans) = Self.pack(decoderInputs, decoderInputs.map { $0.map { _ in 0 } })
        self.targets = targets
    }

    /// Tokens that are computed, encoder and decoder.
    public var tokenCount: Int { input.ids.count + decoderInput.ids.count }

    /// The rows of each sequence in a stack. A decoder-only model reads its input there.
    public func spans(_ stack: StackKind) -> [Range<Int>] {
        stack == .encoder || decoderSpans.isEmpty ? inputSpans : decoderSpans
    }

    func tokens(_ stack: StackKind) -> TokenRows {
        stack == .encoder || decoderSpans.isEmpty ? input : decoderInput
    }

    private static func pack(_ sequences: [[Int32]], _ types: [[Int32]]) -> (TokenRows, [Range<Int>]) {
        var start = 0
        let spans = sequences.map { sequence in
            defer { start += sequence.count }
            return start..<start + sequence.count
        }
        let rows = TokenRows(
            ids: Array(sequences.joined()), typeIDs: Array(types.joined()),
            positions: sequences.flatMap { (0..<Int32($0.count)) })
        return (rows, spans)
    }
}
