import Models
import Reporting
import Stages
import Support
import TensorCore
import TextData

/// Feeds cached training: the activations of the next batches are read while the current one is computed.
package final class CacheReader {
    private let files: [ActivationCacheFile]
    private let shape: CacheShape
    private let split: Split
    private let thread: IOThread
    private let builder: BatchBuilder
    private let ledger: Ledger
    private let trace: TraceRecorder
    private var ahead: [Pending] = []
    /// Seconds that computing waited for the disk.
    package private(set) var waitedSeconds = 0.0

    /// The activations of a batch: for each stack [tokens, layers, hidden], layers side by side.
    package struct Activations {
        fileprivate let blocks: [(layers: CacheShape.StackLayers, block: Tensor)]
        fileprivate let hiddenSize: Int

        /// b of a stack and layer: [n, d], a strided view.
        package func callAsFunction(_ stack: StackKind, _ layer: Int) -> Tensor {
            let (layers, block) = blocks.first { $0.layers.stack == stack }!
            return Tensor(
                block.storage, offset: (layer - layers.layers.lowerBound) * hiddenSize, rows: block.rows,
                columns: hiddenSize, rowStride: block.columns)
        }
    }

    private struct Pending {
        let samples: [Int]
        let activations: Activations
        let ticket: IOThread.Ticket
        /// The step that it is for, if that is recorded.
        let recordedStep: Int?
    }

    /// - Parameter files: each sample that will be asked for is in one of them, with all layers of `shape`.
    package init(
        _ files: [ActivationCacheFile], _ shape: CacheShape, _ split: Split, _ builder: BatchBuilder,
        thread: IOThread, ledger: Ledger, trace: TraceRecorder
    ) {
        self.trace = trace
        self.files = files
        self.shape = shape
        self.split = split
        self.builder = builder
        self.thread = thread
        self.ledger = ledger
    }

    deinit {
        // The I/O thread still writes into blocks that were not taken: an error elsewhere must not free them first.
        for pending in ahead { _ = Result { try pending.ticket.wait() } }
    }

    /// Starts reading a batch. Batches are taken in the order in which they were requested.
    ///
    /// - Parameter step: the step that it is for; nil in an evaluation.
    package func request(_ samples: [Int], step: Int?) {
        let (split, shape) = (self.split, self.shape)
        let blocks = shape.stacks.map { stack in
            let tokens = samples.reduce(0) { $0 + builder.tokenCount($1, stack.stack) }
            return (
                layers: stack,
                block: Tensor(
                    rows: tokens, columns: shape.rowCount(stack), category: .cache, ledger: ledger)
            )
        }
        // Where each sample goes: plain addresses, valid until the ticket is complete.
        var starts = blocks.map { Address($0.block.pointer) }
        let places = samples.map { sample in
            defer {
                for (index, stack) in shape.stacks.enumerated() {
                    starts[index].pointer +=
                        builder.tokenCount(sample, stack.stack) * shape.rowCount(stack)
                }
            }
            return starts
        }
        let sources = samples.map { sample in
            files.first { $0.shape == shape && $0.contains(split, sample) }!
        }
        let ticket = thread.enqueue {
            for ((sample, places), file) in zip(zip(samples, places), sources) {
                try file.read(split, sample: sample, into: places.map(\.pointer))
            }
        }
        ahead.append(
            Pending(
                samples: samples, activations: Activations(blocks: blocks, hiddenSize: shape.hiddenSize),
                ticket: ticket, recordedStep: step.flatMap { trace.isRecorded(step: $0) ? $0 : nil }))
    }

    /// The activations of the batch requested first.
    package func next(_ samples: [Int]) throws -> Activations {
        let pending = ahead.removeFirst()
        precondition(pending.samples == samples, "batches are taken in the order of their requests")
        let start = MonotonicClock.seconds
        try pending.ticket.wait()
        waitedSeconds += MonotonicClock.seconds - start
        if let step = pending.recordedStep {
            let bytes = pending.activations.blocks.reduce(0) { $0 + $1.block.count * 4 }
            trace.add("read", .cacheRead, step: step, bytes: bytes, times: pending.ticket.times)
        }
        return pending.activations
    }

    private struct Address: @unchecked Sendable {
        var pointer: UnsafeMutablePointer<Float>
        init(_ pointer: UnsafeMutablePointer<Float>) { self.pointer = pointer }
    }
}
