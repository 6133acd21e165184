import CKernels
import Models
import Support
import TensorCore
import TextData

/// Writes a stage's activations to this rank's cache file as they are made, while the stage goes on computing.
final class CacheRecorder: ActivationRecorder {
    private let file: ActivationCacheFile
    private let thread: IOThread
    private let dataset: TokenizedDataset
    private let split: Split
    private let ledger: Ledger
    private var batch: MicroBatch?
    private var buffers: [[Float]] = []
    private var outstanding: [(ticket: IOThread.Ticket, bytes: Int)] = []

    /// Micro-batches that may wait for the disk before the stage waits too.
    private static let limit = 8

    init(
        _ file: ActivationCacheFile, _ split: Split, _ dataset: TokenizedDataset, thread: IOThread,
        ledger: Ledger
    ) {
        self.file = file
        self.split = split
        self.dataset = dataset
        self.thread = thread
        self.ledger = ledger
    }

    func begin(_ batch: MicroBatch) {
        self.batch = batch
        buffers = file.shape.stacks.map { stack in
            let tokens = batch.spans(stack.stack).last?.upperBound ?? 0
            return [Float](unsafeUninitializedCapacity: tokens * file.shape.rowCount(stack)) { $1 = $0.count }
        }
    }

    func record(_ stack: StackKind, _ layer: Int, _ activation: Tensor) {
        let index = file.shape.stacks.firstIndex { $0.stack == stack }!
        let layers = file.shape.stacks[index].layers
        let d = file.shape.hiddenSize
        buffers[index].withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            ck_copy_rows(
                base + (layer - layers.lowerBound) * d, layers.count * d, activation.pointer,
                activation.rowStride,
                activation.rows, d)
        }
    }

    func end() throws {
        let batch = self.batch!
        let stacks = file.shape.stacks.map(\.stack)
        let samples = batch.sampleIDs.indices.map { index in
            dataset.cacheRow(batch.sampleIDs[index], tokenCounts: stacks.map { batch.spans($0)[index].count })
        }
        let (file, split, activations) = (self.file, self.split, buffers)
        buffers = []
        let bytes = activations.reduce(0) { $0 + $1.count * 4 }
        ledger.register(bytes, .cache)
        outstanding.append((thread.enqueue { try file.append(split, samples, activations) }, bytes))
        while outstanding.count > Self.limit { try waitForOldest() }
    }

    /// Returns when everything is written; throws what the disk answered.
    func finish() throws { while !outstanding.isEmpty { try waitForOldest() } }

    private func waitForOldest() throws {
        let (ticket, bytes) = outstanding.removeFirst()
        try ticket.wait()
        ledger.release(bytes, .cache)
    }
}

extension TokenizedDataset {
    /// What a cache keeps of a sample besides its activations.
    func cacheRow(_ sample: Int, tokenCounts: [Int]) -> ActivationCacheFile.SampleRow {
        let label: Float? =
            switch labels {
            case .classes(let labels): Float(labels[sample])
            case .scores(let scores): scores[sample]
            case .none, .texts: nil
            }
        return ActivationCacheFile.SampleRow(
            id: sample, tokenCounts: tokenCounts, tokenIDs: Array(input(sample)), label: label,
            targetIDs: hasTargets ? Array(target(sample)) : nil)
    }
}
