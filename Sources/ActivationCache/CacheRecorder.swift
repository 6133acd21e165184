import CKernels
import Models
import Reporting
import Stages
import Support
import TensorCore
import TextData

/// Writes a stage's activations to this rank's cache file while the stage computes.
package final class CacheRecorder: ActivationRecorder {
    private let file: ActivationCacheFile
    private let thread: IOThread
    private let dataset: TokenizedDataset
    private let split: Split
    private let ledger: Ledger
    /// Whether a sample is there already.
    private let isKnown: (Int) -> Bool
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

    /// - Parameter isKnown: whether a sample needs no writing, as it is in another file.
    init(
        _ file: ActivationCacheFile, _ split: Split, _ dataset: TokenizedDataset, thread: IOThread,
        ledger: Ledger, trace: TraceRecorder, isKnown: @escaping (Int) -> Bool
    ) {
        self.isKnown = isKnown
        self.trace = trace
        self.file = file
        self.split = split
        self.dataset = dataset
        self.thread = thread
        self.ledger = ledger
    }

    package func begin(_ batch: MicroBatch) {
        self.batch = batch
        let counts = file.shape.stacks.map {
            (batch.spans($0.stack).last?.upperBound ?? 0) * file.shape.rowCount($0)
        }
        bufferBytes = counts.reduce(0, +) * MemoryLayout<Float>.stride
        ledger.register(bufferBytes, .cache)
        buffers = counts.map { count in [Float](unsafeUninitializedCapacity: count) { $1 = $0.count } }
    }

    package func record(_ stack: StackKind, _ layer: Int, _ activation: Tensor) {
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

    package func end() {
        let batch = self.batch!
        let stacks = file.shape.stacks.map(\.stack)
        let positions = batch.sampleIDs.indices.filter { !isKnown(batch.sampleIDs[$0]) }
        let samples = positions.map { index in
            dataset.cacheRow(
                batch.sampleIDs[index], tokenCounts: stacks.map { batch.spans($0)[index].count })
        }
        let (file, split) = (self.file, self.split)
        let activations = positions.count == batch.sampleIDs.count ? buffers : rows(of: positions, batch)
        buffers = []
        guard failure == nil, !samples.isEmpty else {
            ledger.release(bufferBytes, .cache)
            return
        }
        let ticket = thread.enqueue {
            try file.append(split, samples, try activations.map { try file.precision.encode($0) })
        }
        outstanding.append(Write(ticket: ticket, bytes: bufferBytes, recordedStep: trace.recordedStep))
        while outstanding.count > Self.mostOutstanding {
            trace.measure("disk", .cacheWait) { waitForOldest() }
        }
    }

    /// The buffers with the rows of some of the micro-batch's samples alone.
    private func rows(of positions: [Int], _ batch: MicroBatch) -> [[Float]] {
        zip(file.shape.stacks, buffers).map { stack, buffer in
            let width = file.shape.rowCount(stack)
            return positions.flatMap { position in
                let span = batch.spans(stack.stack)[position]
                return buffer[span.lowerBound * width..<span.upperBound * width]
            }
        }
    }

    /// Whether the disk has failed: all ranks must know before any of them stops.
    package var hasFailed: Bool { failure != nil }

    /// Returns when everything is written and would survive the end of this process; throws what the disk answered.
    package func finish() throws {
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
