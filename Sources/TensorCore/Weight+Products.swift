extension Weight {
    /// y = x Wᵀ.
    ///
    /// A stored matrix is divided among the threads by its rows. Every sum is one that a float32 copy would give, but for what
    /// BLAS rounds differently in a product of another shape.
    /// - Shapes: x [n, columns], rows may be strided; y [n, rows], contiguous, overwritten.
    func multiply(_ x: Tensor, into y: Tensor) {
        switch self {
        case .float32(let w):
            Matrix.multiply(
                y.pointer, y.columns, x.pointer, x.rowStride, w.pointer, w.columns, transposeB: true,
                m: x.rows, n: w.rows, k: w.columns)
        case .stored(let w):
            let division = Matrix.division(m: x.rows, n: w.rows, k: w.columns)
            let shares = (0..<division.partCount).map { Matrix.cut(w.rows, $0, of: division.partCount) }
            let panels = Panels(
                rows: shares.map(\.count).max()!, columns: w.columns, count: shares.count, ledger: x.ledger)
            division.run { part, _ in
                panels.forEach(in: shares[part], of: part) { rows, panel in
                    w.expand(rows: rows, into: panel)
                    Matrix.multiply(
                        y.pointer + rows.lowerBound, y.columns, x.pointer, x.rowStride, panel, w.columns,
                        transposeB: true, m: x.rows, n: rows.count, k: w.columns)
                }
            }
        }
    }

    /// dx = dy W + beta dx.
    ///
    /// A stored matrix is divided among the threads by its columns. Its panels are added up in their order: each rounds every
    /// sum once more than a float32 copy would, 6e-8 of the largest partial sum.
    /// - Shapes: dy [n, rows], contiguous; dx [n, columns], contiguous. beta is 0 (dx is overwritten) or 1.
    func multiply(gradient dy: Tensor, into dx: Tensor, beta: Float) {
        switch self {
        case .float32(let w):
            Matrix.multiply(
                dx.pointer, w.columns, dy.pointer, dy.columns, w.pointer, w.columns, m: dy.rows, n: w.columns,
                k: w.rows, beta: beta)
        case .stored(let w):
            let division = Matrix.division(m: dy.rows, n: w.columns, k: w.rows)
            let shares = (0..<division.partCount).map {
                Matrix.cut(w.columns, $0, of: division.partCount, step: w.format.groupSize)
            }
            let width = shares.map(\.count).max()!
            let panels = Panels(rows: w.rows, columns: width, count: shares.count, ledger: dy.ledger)
            division.run { part, _ in
                let columns = shares[part]
                panels.forEach(in: 0..<w.rows, of: part) { rows, panel in
                    w.expand(rows: rows, columns: columns, into: panel)
                    Matrix.multiply(
                        dx.pointer + columns.lowerBound, w.columns, dy.pointer + rows.lowerBound, dy.columns,
                        panel, columns.count, m: dy.rows, n: columns.count, k: rows.count,
                        beta: rows.lowerBound == 0 ? beta : 1)
                }
            }
        }
    }
}

/// Room for some rows of a matrix as float32, for each part of a loop its own, so that no part touches the ledger.
struct Panels {
    /// A megabyte: a core's cache of the second level holds about as much. Measured on one core with AVX-512, bfloat16 against
    /// a float32 copy, 896 x 896 to 8192 x 2048:
    /// - 1 row of x: about half the time on larger matrices, where memory is what counts; 896 x 896 half as long again.
    /// - 16 rows: about equal on most shapes; 896 x 896 and a wide x Wᵀ about a third longer.
    /// - 128 to 512 rows: x Wᵀ mostly 10 to 25 % longer, as every panel packs x anew; dy W up to about 10 %.
    ///
    /// An eighth of the size took x Wᵀ up to twice as long, four times the size one row of x three times.
    private static let floatCount = 1 << 18
    /// However wide they are.
    private static let leastRows = 128

    private let height: Int
    private let scratch: Tensor

    /// - Parameters: rows and columns of the largest share, and the number of shares.
    init(rows: Int, columns: Int, count: Int, ledger: Ledger) {
        height = min(rows, max(Self.leastRows, Self.floatCount / columns / 16 * 16))
        scratch = Tensor(rows: count, columns: height * columns, ledger: ledger)
    }

    /// Calls `body` with the rows of a share in order, a panel of them at a time, and the share's room.
    func forEach(
        in rows: Range<Int>, of share: Int, _ body: (Range<Int>, UnsafeMutablePointer<Float>) -> Void
    ) {
        for start in stride(from: rows.lowerBound, to: rows.upperBound, by: height) {
            body(start..<min(start + height, rows.upperBound), scratch.pointer + share * scratch.columns)
        }
    }
}
