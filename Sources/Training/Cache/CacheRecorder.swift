import CKernels
import Models
import Reporting
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
    private var bufferBytes = 0
    private let trace: TraceRecorder
    private var outstanding: [Write] = []
    /// What the disk answered, once it failed; nothing is written after that.
    private var failure: (any Error)?

    /// Something on its way to the disk.
    private struct Write {
        let ticket: IOThread.Ticket
        let bytes: Int
        /// The step that made it, if that is recorded.
        let recordedStep: Int?
    }

    /// Micro-batches that may wait for the disk while another is computed, so that the memory is known beforehand.
    private static let mostOutstanding = 1

    init(
        _ file: ActivationCacheFile, _ split: Split, _ dataset: TokenizedDataset, thread: IOThread,
        ledger: Ledger, trace: TraceRecorder
    ) {
        self.trace = trace
        self.file = file
        self.split = split
        self.dataset = dataset
        self.thread = thread
        self.ledger = ledger
    }

    func begin(_ batch: MicroBatch) {
        self.batch = batch
        let counts = file.shape.stacks.map {
            (batch.spans($0.stack).last?.upperBound ?? 0) * file.shape.rowCount($0)
        }
        bufferBytes = counts.reduce(0, +) * MemoryLayout<Float>.stride
        ledger.register(bufferBytes, .cache)
        buffers = counts.map { count in [Float](unsafeUninitializedCapacity: count) { $1 = $0.count } }
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

    func end() {
        let batch = self.batch!
        let stacks = file.shape.stacks.map(\.stack)
        let samples = batch.sampleIDs.indices.map { index in
            dataset.cacheRow(
                batch.sampleIDs[index], tokenCounts: stacks.map { batch.spans($0)[index].count })
        }
        let (file, split, activations) = (self.file, self.split, buffers)
        buffers = []
        guard failure == nil else {
            ledger.release(bufferBytes, .cache)
            return
        }
        outstanding.append(
            Write(
                ticket: thread.enqueue { try file.append(split, samples, activations) }, bytes: bufferBytes,
                recordedStep: trace.recordedStep))
        while outstanding.count > Self.mostOutstanding {
            trace.measure("disk", .cacheWait) { waitForOldest() }
        }
    }

    /// Whether the disk has failed: all ranks must know before any of them stops.
    var hasFailed: Bool { failure != nil }

    /// Returns when everything is written and would survive the end of this process; throws what the disk answered.
    func finish() throws {
        let file = self.file
        if failure == nil {
            let flush = thread.enqueue { try file.flush() }
            outstanding.append(Write(ticket: flush, bytes: 0, recordedStep: nil))
        }
        trace.measureAlways("disk", .cacheWait) {
            while !outstanding.isEmpty { waitForOldest() }
        }
        if let failure { throw failure }
    }

    private func waitForOldest() {
        let write = outstanding.removeFirst()
        do { try write.ticket.wait() } catch { failure = failure ?? error }
        if let step = write.recordedStep {
            trace.add("write", .cacheWrite, step: step, bytes: write.bytes, times: write.ticket.times)
        }
        ledger.release(write.bytes, .cache)
    }
}
