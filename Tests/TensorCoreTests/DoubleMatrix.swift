import Support
import TensorCore

/// A matrix in double precision: what the naive versions of the operations work on.
struct DoubleMatrix {
    var rows: Int
    var columns: Int
    var values: [Double]

    init(_ rows: Int, _ columns: Int, _ value: (Int, Int) -> Double) {
        self.rows = rows
        self.columns = columns
        values = (0..<rows * columns).map { value($0 / columns, $0 % columns) }
    }

    /// Uniform numbers in (-1, 1) that float32 holds exactly, so that both precisions start from the same numbers.
    static func random(_ rows: Int, _ columns: Int, seed: UInt64) -> DoubleMatrix {
        let random = CounterRandom(seed)
        return DoubleMatrix(rows, columns) { i, j in
            Double(Float(2 * random.uniform(at: UInt64(i * columns + j)) - 1))
        }
    }

    subscript(i: Int, j: Int) -> Double {
        get { values[i * columns + j] }
        set { values[i * columns + j] = newValue }
    }

    func tensor(_ ledger: Ledger) -> Tensor {
        Tensor(values.map { Float($0) }, rows: rows, columns: columns, ledger: ledger)
    }
}
