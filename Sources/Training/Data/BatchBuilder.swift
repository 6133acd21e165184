import Models
import TextData

/// Packs samples of a data set into the micro-batches that models run.
public struct BatchBuilder: Sendable {
    private let dataset: TokenizedDataset
    /// What a decoder starts from; nil for encoder models.
    private let decoderStartID: Int32?

    public init(_ dataset: TokenizedDataset, decoderStartID: Int32?) {
        self.dataset = dataset
        self.decoderStartID = decoderStartID
    }

    var hasDecoder: Bool { decoderStartID != nil }

    /// The micro-batch of some samples. Under a decoder its input is the target shifted right.
    public func batch(_ samples: [Int]) -> MicroBatch {
        let targets: Targets
        var decoderInputs: [[Int32]] = []
        if let decoderStartID {
            decoderInputs = samples.map { [decoderStartID] + dataset.target($0).dropLast() }
            targets = .tokens(samples.flatMap { dataset.target($0) })
        } else {
            switch dataset.labels {
            case .classes(let labels): targets = .classes(samples.map { labels[$0] })
            case .scores(let scores): targets = .scores(samples.map { scores[$0] })
            case .texts, .none: targets = .none
            }
        }
        return batch(samples, decoderInputs: decoderInputs, targets: targets)
    }

    /// The micro-batch with which a generation begins: every decoder holds the start token alone.
    public func generationBatch(_ samples: [Int]) -> MicroBatch {
        batch(samples, decoderInputs: samples.map { _ in [decoderStartID!] }, targets: .none)
    }

    /// Loss terms of some samples: sequences, or the tokens of their targets.
    public func termCount(_ samples: [Int]) -> Int {
        decoderStartID == nil ? samples.count : samples.reduce(0) { $0 + dataset.target($1).count }
    }

    /// Tokens that a stack computes for a sample.
    public func tokenCount(_ sample: Int, _ stack: StackKind) -> Int {
        stack == .decoder && decoderStartID != nil
            ? dataset.target(sample).count : dataset.input(sample).count
    }

    private func batch(_ samples: [Int], decoderInputs: [[Int32]], targets: Targets) -> MicroBatch {
        MicroBatch(
            sampleIDs: samples, inputs: samples.map { Array(dataset.input($0)) },
            types: samples.map {
                Array(dataset.typeIDs[dataset.inputOffsets[$0]..<dataset.inputOffsets[$0 + 1]])
            }, decoderInputs: decoderInputs, targets: targets)
    }
}
