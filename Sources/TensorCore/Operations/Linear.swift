import CKernels

/// Applies y = x Wᵀ + b to every row.
///
/// - Shapes: x [n, in] (rows may be strided), weight [out, in], bias [1, out]; result [n, out].
/// - Saved for backward: x when the weight is trained, the weight when x wants a gradient.
package func linear(_ x: Tensor, weight: Weight, bias: Tensor? = nil) -> Tensor {
    precondition(
        x.columns == weight.columns && weight.differentiable?.isContiguous ?? true,
        "linear: [n, \(x.columns)] by \(weight.columns)")
    let y = Tensor(rows: x.rows, columns: weight.rows, ledger: x.ledger)
    weight.multiply(x, into: y)
    if let bias {
        inParallel(rows: y.rows, columns: y.columns) { rows in
            ck_add_bias(y.pointer + rows.lowerBound * y.columns, bias.pointer, rows.count, y.columns)
        }
    }
    return recorded(y, inputs: [x, weight.differentiable, bias]) {
        LinearPullback(
            x: weight.differentiable?.node == nil ? nil : x.detached,
            weight: x.node == nil ? nil : weight.detached, inputSize: x.columns)
    }
}

/// The same with a matrix of float32, which may be trained.
public func linear(_ x: Tensor, weight: Tensor, bias: Tensor? = nil) -> Tensor {
    linear(x, weight: .float32(weight), bias: bias)
}

private struct LinearPullback: Pullback {
    let x: Tensor?
    let weight: Weight?
    let inputSize: Int

    var saved: [Tensor] { [x, weight?.differentiable].compactMap { $0 } }

    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        if let node = inputs[0], let weight {
            let (dx, beta) = node.destination(rows: dy.rows, columns: inputSize, ledger: dy.ledger)
            weight.multiply(gradient: dy, into: dx, beta: beta)
        }
        if let node = inputs[1], let x {
            let (dw, beta) = node.destination(rows: dy.columns, columns: inputSize, ledger: dy.ledger)
            Matrix.multiply(
                dw.pointer, inputSize, dy.pointer, dy.columns, transposeA: true, x.pointer, x.rowStride,
                m: dy.columns, n: inputSize, k: dy.rows, beta: beta)
        }
        if let node = inputs[2] {
            let (db, beta) = node.destination(rows: 1, columns: dy.columns, ledger: dy.ledger)
            if beta == 0 { db.fill(0) }
            sumInParallel(rows: dy.rows, columns: dy.columns, into: [db], ledger: dy.ledger) { rows, sums in
                ck_column_sums(
                    sums[0]!, dy.pointer + rows.lowerBound * dy.columns, rows.count, dy.columns)
            }
        }
    }
}
