import CKernels
import MPI
import Models
import TensorCore

/// The tensors that cross a stage boundary for some samples: which there are, and how many rows of each.
///
/// Forward: the backbone's and the side network's hidden states and, inside a decoder, both encoder results. Backward:
/// the side network's gradients alone, k times narrower.
struct Payload {
    /// One tensor of the payload: rows of a stack, so many columns.
    struct Part {
        let stack: StackKind
        let columns: Int
    }

    let parts: [Part]

    /// - Parameters:
    ///   - stack: the stack that the boundary lies in (that of the layer before it).
    ///   - withMemory: whether encoder results travel too.
    static func forward(stack: StackKind, withMemory: Bool, hiddenSize d: Int, sideSize r: Int) -> Payload {
        let memory = withMemory ? [Part(stack: .encoder, columns: d), Part(stack: .encoder, columns: r)] : []
        return Payload(parts: [Part(stack: stack, columns: d), Part(stack: stack, columns: r)] + memory)
    }

    static func backward(stack: StackKind, withMemory: Bool, sideSize r: Int) -> Payload {
        Payload(
            parts: [Part(stack: stack, columns: r)] + (withMemory ? [Part(stack: .encoder, columns: r)] : []))
    }

    /// Floats of a message, given the rows of each part.
    func floatCount(_ rows: [Int]) -> Int { zip(parts, rows).reduce(0) { $0 + $1.0.columns * $1.1 } }
}

/// A message under way, or received: memory on the ledger that MPI reads or writes.
final class FloatMessage: MessageBuffer {
    let storage: Storage

    init(count: Int, ledger: Ledger) { storage = Storage(count: count, category: .exchange, ledger: ledger) }

    var bytes: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            start: storage.pointer, count: storage.count * MemoryLayout<Float>.stride)
    }
}
