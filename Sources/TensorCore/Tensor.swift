import CKernels

/// A matrix of float32: a cheap handle on storage. A vector is a matrix of one row.
///
/// Rows are `rowStride` floats apart, so that one layer's rows can be read out of a cache block that holds all layers.
/// A tensor with a `node` takes part in differentiation.
public struct Tensor {
    public let storage: Storage
    public let offset: Int
    public let rows: Int
    public let columns: Int
    public let rowStride: Int
    public let node: Node?

    /// A view of storage.
    public init(
        _ storage: Storage, offset: Int = 0, rows: Int, columns: Int, rowStride: Int? = nil, node: Node? = nil
    ) {
        self.storage = storage
        self.offset = offset
        self.rows = rows
        self.columns = columns
        self.rowStride = rowStride ?? columns
        self.node = node
        let last = rows == 0 ? 0 : offset + (rows - 1) * self.rowStride + columns
        precondition(offset >= 0 && last <= storage.count, "a tensor must lie inside its storage")
    }

    /// A new, uninitialised matrix.
    public init(rows: Int, columns: Int, category: MemoryCategory = .activations, ledger: Ledger) {
        self.init(
            Storage(count: rows * columns, category: category, ledger: ledger), rows: rows, columns: columns)
    }

    /// A new matrix with given values, row by row.
    public init(
        _ values: [Float], rows: Int, columns: Int, category: MemoryCategory = .activations, ledger: Ledger
    ) {
        precondition(values.count == rows * columns, "\(values.count) values for \(rows) x \(columns)")
        self.init(rows: rows, columns: columns, category: category, ledger: ledger)
        values.withUnsafeBufferPointer { source in
            if let base = source.baseAddress { pointer.update(from: base, count: source.count) }
        }
    }

    public var ledger: Ledger { storage.ledger }
    public var count: Int { rows * columns }
    public var isContiguous: Bool { rowStride == columns || rows <= 1 }

    /// The first element. Valid while this tensor's storage is referenced: keep the tensor in a variable that outlives
    /// the use.
    public var pointer: UnsafeMutablePointer<Float> { storage.pointer + offset }

    /// The same numbers with another place on the tape.
    public func with(node: Node?) -> Tensor {
        Tensor(storage, offset: offset, rows: rows, columns: columns, rowStride: rowStride, node: node)
    }

    /// The same numbers outside the tape.
    public var detached: Tensor { node == nil ? self : with(node: nil) }

    /// The same numbers as a leaf whose gradient can be read after `backward`: what a stage receives from another.
    public var asLeaf: Tensor { with(node: Node(leaf: nil, ledger: ledger)) }

    /// A view of some rows, outside the tape.
    public func rows(_ range: Range<Int>) -> Tensor {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows outside the matrix")
        return Tensor(
            storage, offset: offset + range.lowerBound * rowStride, rows: range.count, columns: columns,
            rowStride: rowStride)
    }

    /// The values, row by row.
    public var values: [Float] {
        [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
            if count > 0 { ck_copy_rows(buffer.baseAddress!, columns, pointer, rowStride, rows, columns) }
            initialized = count
        }
    }

    /// A contiguous copy outside the tape.
    public func copy(category: MemoryCategory = .activations) -> Tensor {
        let out = Tensor(rows: rows, columns: columns, category: category, ledger: ledger)
        ck_copy_rows(out.pointer, columns, pointer, rowStride, rows, columns)
        return out
    }

    /// Sets every element of a contiguous tensor.
    public func fill(_ value: Float) {
        precondition(isContiguous)
        ck_fill(pointer, value, count)
    }
}

// Loops over contiguous tensors of the same count, on all threads.
extension Tensor {
    /// self += other
    func accumulate(_ other: Tensor) {
        inParallel(elements: count) {
            ck_axpy(pointer + $0.lowerBound, 1, other.pointer + $0.lowerBound, $0.count)
        }
    }

    /// self = a + b
    func set(toSumOf a: Tensor, _ b: Tensor) {
        inParallel(elements: count) {
            ck_add(
                pointer + $0.lowerBound, a.pointer + $0.lowerBound, b.pointer + $0.lowerBound, $0.count)
        }
    }

    /// self = a ⊙ b; either may be self.
    func set(toProductOf a: Tensor, _ b: Tensor) {
        inParallel(elements: count) {
            ck_multiply(
                pointer + $0.lowerBound, a.pointer + $0.lowerBound, b.pointer + $0.lowerBound, $0.count)
        }
    }

    /// self = factor x
    func set(to x: Tensor, scaledBy factor: Float) {
        inParallel(elements: count) {
            ck_scale(pointer + $0.lowerBound, x.pointer + $0.lowerBound, factor, $0.count)
        }
    }
}
