import MPI
import TensorCore

/// A message that is sent from where its numbers are: they must not change before it has left.
final class FloatView: MessageBuffer {
    private let storage: Storage
    private let range: Range<Int>

    init(_ storage: Storage, _ range: Range<Int>) {
        self.storage = storage
        self.range = range
    }

    var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            start: storage.pointer + range.lowerBound, count: range.count * MemoryLayout<Float>.stride)
    }
}

/// A pending or received message: memory on the ledger that MPI reads or writes.
package final class FloatMessage: MessageBuffer {
    package let storage: Storage

    package init(count: Int, ledger: Ledger) {
        storage = Storage(count: count, category: .exchange, ledger: ledger)
    }

    /// Room for bytes of any kind.
    package convenience init(byteCount: Int, ledger: Ledger) {
        self.init(count: (byteCount + 3) / 4, ledger: ledger)
    }

    package var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            start: storage.pointer, count: storage.count * MemoryLayout<Float>.stride)
    }
}
