import MPI
import TensorCore

/// A message under way, or received: memory on the ledger that MPI reads or writes.
final class FloatMessage: MessageBuffer {
    let storage: Storage

    init(count: Int, ledger: Ledger) { storage = Storage(count: count, category: .exchange, ledger: ledger) }

    var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            start: storage.pointer, count: storage.count * MemoryLayout<Float>.stride)
    }
}
