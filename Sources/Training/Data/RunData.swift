import Models
import Stages
import TextData

/// The data of a run as its model reads it, on every rank.
struct RunData {
    /// The task with its tokenizer; on rank 0 only.
    let task: TextTask?
    let headKind: HeadKind
    let tokenizerFingerprint: String
    /// Whether a validation compares texts that the model writes; otherwise one pass over the samples measures it.
    let validatesByWriting: Bool
    let train: SplitSamples?
    let validation: SplitSamples?

    /// - Throws: on every rank alike, when the model cannot read a sample.
    init(
        _ received: PreparedData.Received, task: TextTask?, _ family: any ModelFamily, pooling: Pooling
    ) throws {
        func samples(_ dataset: TokenizedDataset?) throws -> SplitSamples? {
            try dataset.map { try SplitSamples($0, family, head: received.headKind, pooling: pooling) }
        }
        self.task = task
        headKind = received.headKind
        tokenizerFingerprint = received.tokenizerFingerprint
        validatesByWriting = received.validatesByWriting
        train = try samples(received.train)
        validation = try samples(received.validation)
    }

    /// Those that are there.
    var splits: [Split: SplitSamples] {
        [Split.train: train, .validation: validation].compactMapValues { $0 }
    }

    /// Identifies the rows of both splits as the model reads them.
    var fingerprint: String {
        [train, validation].compactMap { $0?.dataset.fingerprint }.joined(separator: "+")
    }

    /// Room for a text somewhat longer than any that was trained on.
    ///
    /// - Parameter limit: the longest sample that is read, for data without targets.
    func generationLength(limit: Int) -> Int {
        guard let dataset = train?.dataset, dataset.hasTargets else { return limit }
        return dataset.maximumTargetLength + 8
    }
}
