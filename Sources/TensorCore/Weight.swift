import CKernels

/// The matrix of a layer: float32, which may be trained, or frozen in the format of its file.
///
/// Operations use it in three ways: x Wᵀ, dy W, and rows by number. Float32 is used where it lies. Anything else is expanded to
/// float32 a panel of rows at a time, so that no whole float32 copy ever exists. Whatever is trained, and every vector, is a
/// `Tensor`.
public enum Weight {
    case float32(Tensor)
    case stored(StoredMatrix)
}

extension Weight {
    package var rows: Int {
        switch self {
        case .float32(let tensor): tensor.rows
        case .stored(let matrix): matrix.rows
        }
    }

    package var columns: Int {
        switch self {
        case .float32(let tensor): tensor.columns
        case .stored(let matrix): matrix.columns
        }
    }

    package var ledger: Ledger {
        switch self {
        case .float32(let tensor): tensor.ledger
        case .stored(let matrix): matrix.ledger
        }
    }

    package var format: WeightFormat {
        switch self {
        case .float32: .float32
        case .stored(let matrix): matrix.format
        }
    }

    /// The matrix where it can take part in differentiation; nil where its format keeps it frozen.
    package var differentiable: Tensor? {
        if case .float32(let tensor) = self { tensor } else { nil }
    }

    /// The same numbers outside the tape.
    var detached: Weight {
        if case .float32(let tensor) = self { .float32(tensor.detached) } else { self }
    }

    /// The matrix as float32: itself, or a whole expanded copy under `weights`, for what is small or read once.
    package var tensor: Tensor {
        switch self {
        case .float32(let tensor): return tensor
        case .stored(let matrix):
            let out = Tensor(rows: rows, columns: columns, category: .weights, ledger: ledger)
            matrix.expand(rows: 0..<rows, into: out.pointer)
            return out
        }
    }

    /// The values as float32, row by row; nothing of it is on the ledger.
    package var values: [Float] {
        switch self {
        case .float32(let tensor): return tensor.values
        case .stored(let matrix):
            return [Float](unsafeUninitializedCapacity: rows * columns) { buffer, initialized in
                matrix.expand(rows: 0..<rows, into: buffer.baseAddress!)
                initialized = buffer.count
            }
        }
    }

    /// A copy in memory of its own, in the same format and outside the tape.
    package func copy(ledger: Ledger) -> Weight {
        switch self {
        case .float32(let tensor):
            let copy = Tensor(
                rows: tensor.rows, columns: tensor.columns, category: .weights, ledger: ledger)
            ck_copy_rows(
                copy.pointer, copy.columns, tensor.pointer, tensor.rowStride, tensor.rows, tensor.columns)
            return .float32(copy)
        case .stored(let matrix): return .stored(matrix.copy(ledger: ledger))
        }
    }
}

// MARK: Rows by number

extension Weight {
    /// Calls `body` with the float32 numbers of some rows, one after the other; a pointer is valid during its call only.
    package func forEachRow(_ numbers: some Sequence<Int>, _ body: (UnsafePointer<Float>) -> Void) {
        switch self {
        case .float32(let tensor):
            for number in numbers { body(tensor.pointer + number * tensor.rowStride) }
        case .stored(let matrix):
            let row = Tensor(rows: 1, columns: columns, ledger: ledger)
            for number in numbers {
                matrix.expand(rows: number..<number + 1, into: row.pointer)
                body(row.pointer)
            }
        }
    }

    /// Calls `body` with the float32 numbers of all rows in order, as many at a time as a panel has.
    ///
    /// - Parameter body: gets the numbers of the rows, and their values side by side, valid during its call only.
    package func forEachPanel(_ body: (Range<Int>, UnsafePointer<Float>) -> Void) {
        switch self {
        case .float32(let tensor):
            precondition(tensor.isContiguous)
            body(0..<rows, tensor.pointer)
        case .stored(let matrix):
            let panels = Panels(rows: rows, columns: columns, count: 1, ledger: ledger)
            panels.forEach(in: 0..<rows, of: 0) { rows, panel in
                matrix.expand(rows: rows, into: panel)
                body(rows, panel)
            }
        }
    }
}
