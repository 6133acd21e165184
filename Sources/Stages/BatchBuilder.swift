import Models
import Support
import TextData

/// Packs samples of a data set into the micro-batches that models run.
package struct BatchBuilder: Sendable {
    private let dataset: TokenizedDataset
    /// The model's stacks.
    package let stacks: [StackKind]
    private let layout: Layout

    /// How a family reads a sample.
    private enum Layout {
        /// An encoder reads the input.
        case encoder
        /// A decoder writes the target, beginning after this token.
        case encoderDecoder(startID: Int32)
        /// A decoder reads the input shifted by one behind this token, so that a classifier can read the decoder.
        case classifyingDecoder(startID: Int32)
        /// A decoder continues the input with the target.
        case continuation
        /// A decoder learns the tokens of the input that are marked.
        case passage
    }

    /// - Throws: when a classifier reads a token that a sample does not have, naming both, or compares the texts of a pair
    ///   and a sample is none.
    package init(
        _ dataset: TokenizedDataset, _ family: any ModelFamily, head: HeadKind, pooling: Pooling = .cls
    ) throws {
        self.dataset = dataset
        stacks = family.stacks.map(\.kind)
        let writes = head == .languageModel
        if let tokens = family.generationTokens {
            switch tokens.start {
            case .some(let startID):
                layout = writes ? .encoderDecoder(startID: startID) : .classifyingDecoder(startID: startID)
            case nil: layout = !writes ? .encoder : dataset.hasTargets ? .continuation : .passage
            }
        } else {
            layout = .encoder
        }
        try check(family, head)
        if pooling == .pair,
            let sample = (0..<dataset.count).first(where: { !dataset.types($0).contains(1) })
        {
            throw Failure.configuration(
                "task.pooling: expected pairs of texts for \"pair\", found that sample \(sample) is a single one"
            )
        }
    }

    private func check(_ family: any ModelFamily, _ head: HeadKind) throws {
        if head != .languageModel, case .lastOccurrence(let id) = family.head.classifier.token,
            let sample = (0..<dataset.count).first(where: { !dataset.input($0).contains(id) })
        {
            throw Failure.configuration(
                "sample \(sample): expected the token \(id), which the \(family.name) model's classifier reads, "
                    + "found none among its \(dataset.input(sample).count) tokens")
        }
        if case .continuation = layout,
            let sample = (0..<dataset.count).first(where: { dataset.input($0).isEmpty })
        {
            throw Failure.configuration(
                "sample \(sample): expected a token from which to predict the next, found an empty input")
        }
    }

    /// The micro-batch of some samples, towards their targets or labels.
    package func batch(_ samples: [Int]) -> MicroBatch {
        switch layout {
        case .encoder: return batch(samples, targets: labels(samples))
        case .encoderDecoder(let startID):
            return batch(
                samples, decoderInputs: samples.map { [startID] + dataset.target($0).dropLast() },
                targets: .tokens(samples.flatMap { dataset.target($0) }))
        case .classifyingDecoder(let startID):
            return batch(
                samples, decoderInputs: samples.map { [startID] + dataset.input($0).dropLast() },
                targets: labels(samples))
        case .continuation: return continuation(samples)
        case .passage: return passages(samples)
        }
    }

    /// The micro-batch with which a generation begins: a decoder beside an encoder holds the start token alone, a
    /// decoder-only model its prompt.
    package func generationBatch(_ samples: [Int]) -> MicroBatch {
        guard case .encoderDecoder(let startID) = layout else { return batch(samples, targets: .none) }
        return batch(samples, decoderInputs: samples.map { _ in [startID] }, targets: .none)
    }

    /// Loss terms of some samples: sequences, or the tokens of their targets.
    package func termCount(_ samples: [Int]) -> Int {
        switch layout {
        case .encoder, .classifyingDecoder: samples.count
        case .encoderDecoder, .continuation: samples.reduce(0) { $0 + dataset.target($1).count }
        case .passage: samples.reduce(0) { $0 + learnedPlaces($1).count }
        }
    }

    /// Tokens that a sample has to be read.
    package func inputCount(_ sample: Int) -> Int { dataset.input(sample).count }

    /// Tokens that a stack computes for a sample.
    package func tokenCount(_ sample: Int, _ stack: StackKind) -> Int {
        switch layout {
        case .encoder, .classifyingDecoder, .passage: dataset.input(sample).count
        case .encoderDecoder: stack == .decoder ? dataset.target(sample).count : dataset.input(sample).count
        case .continuation: dataset.input(sample).count + max(0, dataset.target(sample).count - 1)
        }
    }

    /// Input and target in one sequence, but for the target's last token, after which nothing is predicted. The row
    /// before each target token predicts it.
    private func continuation(_ samples: [Int]) -> MicroBatch {
        var rows: [Int] = []
        var start = 0
        let sequences = samples.map { sample in
            let (input, target) = (dataset.input(sample), dataset.target(sample))
            rows += target.indices.map { start + input.count - 1 + $0 - target.startIndex }
            start += input.count + max(0, target.count - 1)
            return Array(input) + target.dropLast()
        }
        return MicroBatch(
            sampleIDs: samples, inputs: sequences, types: sequences.map { $0.map { _ in 0 } },
            targets: .tokens(samples.flatMap { dataset.target($0) }), targetRows: rows)
    }

    /// Whole sequences. The row before each marked token predicts that token.
    private func passages(_ samples: [Int]) -> MicroBatch {
        var rows: [Int] = []
        var tokens: [Int32] = []
        var start = 0
        for sample in samples {
            let input = dataset.input(sample)
            for place in learnedPlaces(sample) {
                rows.append(start + place - 1)
                tokens.append(input[input.startIndex + place])
            }
            start += input.count
        }
        return MicroBatch(
            sampleIDs: samples, inputs: samples.map { Array(dataset.input($0)) },
            types: samples.map { dataset.input($0).map { _ in 0 } }, targets: .tokens(tokens),
            targetRows: rows)
    }

    /// Where in a sample the tokens to learn stand. The first token has none before it to be predicted from.
    private func learnedPlaces(_ sample: Int) -> [Int] {
        let marks = dataset.lossMarks(sample)
        return (1..<max(1, marks.count)).filter { marks[marks.startIndex + $0] }
    }

    private func labels(_ samples: [Int]) -> Targets {
        switch dataset.labels {
        case .classes(let labels): .classes(samples.map { labels[$0] })
        case .scores(let scores): .scores(samples.map { scores[$0] })
        case .texts, .none: .none
        }
    }

    private func batch(_ samples: [Int], decoderInputs: [[Int32]] = [], targets: Targets) -> MicroBatch {
        MicroBatch(
            sampleIDs: samples, inputs: samples.map { Array(dataset.input($0)) },
            types: samples.map { Array(dataset.types($0)) }, decoderInputs: decoderInputs, targets: targets)
    }
}
