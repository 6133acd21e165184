import TensorCore

/// What a batch is trained towards.
package enum Targets: Sendable, Equatable {
    case classes([Int32])
    case scores([Float])
    /// One token for each of the batch's target rows.
    case tokens([Int32])
    /// Nothing: prediction.
    case none

    /// Terms of the loss: sequences, or supervised tokens.
    package var termCount: Int {
        switch self {
        case .classes(let labels): labels.count
        case .scores(let scores): scores.count
        case .tokens(let tokens): tokens.count
        case .none: 0
        }
    }
}

/// Some samples, packed: all tokens one after the other, no padding.
package struct MicroBatch: Sendable {
    /// Row numbers in the data set; they key dropout.
    package let sampleIDs: [Int]
    package let input: TokenRows
    /// Rows of each sample's input.
    package let inputSpans: [Range<Int>]
    /// The decoder's input tokens: the target shifted right. Empty for models of one stack, which read `input`.
    package let decoderInput: TokenRows
    package let decoderSpans: [Range<Int>]
    package let targets: Targets
    /// Rows of the last stack from which a language model predicts, in the order of its targets: all of a decoder beside
    /// an encoder, those with a label in a decoder-only model. No other rows go through the head.
    package let targetRows: [Int]

    /// Packs samples.
    ///
    /// - Parameters: `inputs` and `types` are each sample's tokens; `decoderInputs` each sample's decoder tokens, none for
    ///   models of one stack; `targetRows` the rows to predict from, nil for all; `firstPositions` the place in its
    ///   sequence of each sample's first decoder token (of its first input token without `decoderInputs`), nil for 0: in
    ///   a generation, the tokens that the caches hold.
    package init(
        sampleIDs: [Int], inputs: [[Int32]], types: [[Int32]], decoderInputs: [[Int32]] = [],
        targets: Targets,
        targetRows: [Int]? = nil, firstPositions: [Int]? = nil
    ) {
        self.sampleIDs = sampleIDs
        let isOneStack = decoderInputs.isEmpty
        (input, inputSpans) = Self.pack(inputs, types, from: isOneStack ? firstPositions : nil)
        (decoderInput, decoderSpans) = Self.pack(
            decoderInputs, decoderInputs.map { $0.map { _ in 0 } }, from: firstPositions)
        self.targets = targets
        self.targetRows = targetRows ?? Array(0..<(isOneStack ? input : decoderInput).ids.count)
        if case .tokens(let tokens) = targets {
            precondition(tokens.count == self.targetRows.count, "one target for each target row")
        }
    }

    /// Tokens that are computed, encoder and decoder.
    package var tokenCount: Int { input.ids.count + decoderInput.ids.count }

    /// The rows of each sequence in a stack. A decoder-only model reads its input there.
    package func spans(_ stack: StackKind) -> [Range<Int>] {
        stack == .encoder || decoderSpans.isEmpty ? inputSpans : decoderSpans
    }

    /// The rows of each sample's first text and of its second, which their type ids tell apart.
    var pairSpans: [(first: Range<Int>, second: Range<Int>)] {
        inputSpans.map { span in
            guard let border = span.first(where: { input.typeIDs[$0] == 1 }) else {
                preconditionFailure("a sample to compare must be a pair")
            }
            return (span.lowerBound..<border, border..<span.upperBound)
        }
    }

    package func tokens(_ stack: StackKind) -> TokenRows {
        stack == .encoder || decoderSpans.isEmpty ? input : decoderInput
    }

    private static func pack(
        _ sequences: [[Int32]], _ types: [[Int32]], from firstPositions: [Int]?
    ) -> (TokenRows, [Range<Int>]) {
        var start = 0
        let spans = sequences.map { sequence in
            defer { start += sequence.count }
            return start..<start + sequence.count
        }
        let rows = TokenRows(
            ids: Array(sequences.joined()), typeIDs: Array(types.joined()),
            positions: sequences.indices.flatMap { i in
                let first = Int32(firstPositions?[i] ?? 0)
                return first..<first + Int32(sequences[i].count)
            })
        return (rows, spans)
    }
}
