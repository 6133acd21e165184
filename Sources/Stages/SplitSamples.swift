import Models
import TextData

/// The samples of a split, and how the model reads them.
package struct SplitSamples: Sendable {
    package let dataset: TokenizedDataset
    package let builder: BatchBuilder

    /// - Throws: on every rank alike, when a sample lacks a token that the classifier reads.
    package init(
        _ dataset: TokenizedDataset, _ family: any ModelFamily, head: HeadKind, pooling: Pooling
    ) throws {
        self.dataset = dataset
        builder = try BatchBuilder(dataset, family, head: head, pooling: pooling)
    }

    package var count: Int { dataset.count }
}
