import CKernels

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The cosines and sines of a rotary position embedding: row t holds those of the angles t·ω_p.
public struct RotaryTable {
    /// [positions, 2 · frequencies]: the cosines of a position, then its sines.
    fileprivate let values: Tensor
    public let positionCount: Int

    /// Computes the angles in double precision.
    ///
    /// - Parameter frequencies: ω_p in radians a position, one for each pair of a head's dimensions.
    public init(frequencies: [Float], positionCount: Int, ledger: Ledger) {
        let half = frequencies.count
        self.positionCount = positionCount
        values = Tensor(rows: positionCount, columns: 2 * half, category: .weights, ledger: ledger)
        for t in 0..<positionCount {
            let row = values.pointer + t * 2 * half
            for (p, frequency) in frequencies.enumerated() {
                let angle = Double(t) * Double(frequency)
                row[p] = Float(cos(angle))
                row[half + p] = Float(sin(angle))
            }
        }
    }
}

/// Rotates queries or keys by their positions: in every head, dimensions p and p + h/2 turn by the angle t·ω_p.
///
/// - Shapes: x [n, heads·h] with h = 2 · frequencies; positions [n], all below the table's count; result as x.
/// - Saved for backward: only the positions; the caller owns the table.
/// - Source: Su et al. 2021, in Hugging Face's "rotate half" order of dimensions.
public func rotate(_ x: Tensor, positions: [Int32], _ table: RotaryTable) -> Tensor {
    precondition(x.isContiguous && x.columns % table.values.columns == 0 && positions.count == x.rows)
    precondition(positions.allSatisfy { $0 >= 0 && $0 < table.positionCount }, "a position outside the table")
    let y = Tensor(rows: x.rows, columns: x.columns, ledger: x.ledger)
    table.rotate(y, x, positions, sign: 1)
    return recorded(y, inputs: [x]) { RotatePullback(positions: positions, table: table) }
}

private struct RotatePullback: Pullback {
    let positions: [Int32]
    let table: RotaryTable
    var saved: [Tensor] { [table.values] }

    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        let dx = Tensor(rows: dy.rows, columns: dy.columns, category: .gradients, ledger: dy.ledger)
        table.rotate(dx, dy, positions, sign: -1)
        inputs[0]?.add(dx, fresh: true)
    }
}

extension RotaryTable {
    fileprivate func rotate(_ out: Tensor, _ x: Tensor, _ positions: [Int32], sign: Float) {
        let h = values.columns
        positions.withUnsafeBufferPointer { positions in
            inParallel(rows: x.rows, columns: x.columns) { rows in
                let start = rows.lowerBound * x.columns
                ck_rotate_half(
                    out.pointer + start, x.pointer + start, values.pointer,
                    positions.baseAddress.map { $0 + rows.lowerBound }, sign, rows.count, x.columns / h, h)
            }
        }
    }
}
