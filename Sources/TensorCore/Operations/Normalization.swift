import CKernels

/// Normalises each row of x, or of x + residual, to zero mean and unit variance, then scales and shifts it.
///
/// - Shapes: x and residual [n, d], weight and bias [1, d]; result [n, d].
/// - Saved for backward: the normalised sum's input [n, d], its mean and reciprocal deviation [n].
public func layerNorm(
    _ x: Tensor, adding residual: Tensor? = nil, weight: Tensor, bias: Tensor, epsilon: Float
)
    -> Tensor
{
    precondition(x.isContiguous && x.columns == weight.columns)
    if let residual {
        precondition(residual.isContiguous && residual.rows == x.rows && residual.columns == x.columns)
    }
    let y = Tensor(rows: x.rows, columns: x.columns, ledger: x.ledger)
    guard isRecorded([x, residual, weight, bias]) else {
        var input = x
        if let residual {
            y.set(toSumOf: x, residual)
            input = y
        }
        inParallel(rows: x.rows, columns: x.columns) { rows in
            let start = rows.lowerBound * x.columns
            ck_layer_norm(
                y.pointer + start, nil, nil, input.pointer + start, weight.pointer, bias.pointer, epsilon,
                rows.count, x.columns)
        }
        return y
    }
    var input = x.detached
    if let residual {
        input = Tensor(rows: x.rows, columns: x.columns, ledger: x.ledger)
        input.set(toSumOf: x, residual)
    }
    let statistics = Tensor(rows: 2, columns: x.rows, ledger: x.ledger)
    inParallel(rows: x.rows, columns: x.columns) { rows in
        let start = rows.lowerBound * x.columns
        let means = statistics.pointer + rows.lowerBound
        ck_layer_norm(
            y.pointer + start, means, means + x.rows, input.pointer + start, weight.pointer, bias.pointer,
            epsilon, rows.count, x.columns)
    }
    return recorded(y, inputs: [x, residual, weight, bias]) {
        LayerNormPullback(input: input, statistics: statistics, weight: weight.detached)
    }
}

private struct LayerNormPullback: Pullback {
    let input: Tensor
    let statistics: Tensor
    let weight: Tensor
    var saved: [Tensor] { [input, statistics, weight] }

    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        let wantsInput = inputs[0] != nil || inputs[1] != nil
        let dx =
            wantsInput
            ? Tensor(rows: dy.rows, columns: dy.columns, category: .gradients, ledger: dy.ledger) : nil
        let dweight = inputs[2].map { zeroedDestination($0, columns: dy.columns, ledger: dy.ledger) }
        let dbias = inputs[3].map { zeroedDestination($0, columns: dy.columns, ledger: dy.ledger) }
        sumInParallel(
            rows: dy.rows, columns: dy.columns, into: [dweight, dbias], ledger: dy.ledger
        ) { rows, sums in
            let start = rows.lowerBound * dy.columns
            let means = statistics.pointer + rows.lowerBound
            ck_layer_norm_backward(
                dx.map { $0.pointer + start }, sums[0], sums[1], dy.pointer + start, input.pointer + start,
                weight.pointer, means, means + dy.rows, rows.count, dy.columns)
        }
        if let dx {
            let both = inputs[0] != nil && inputs[1] != nil
            inputs[0]?.add(dx, fresh: !both)
            inputs[1]?.add(dx, fresh: !both)
        }
    }
}

/// Normalises each row by its root mean square and scales it: w ⊙ x / √(mean x² + ε).
///
/// - Shapes: x [n, d], weight [1, d]; result [n, d].
/// - Saved for backward: x and the reciprocal root [n].
public func rmsNorm(_ x: Tensor, weight: Tensor, epsilon: Float) -> Tensor {
    precondition(x.isContiguous && x.columns == weight.columns)
    let y = Tensor(rows: x.rows, columns: x.columns, ledger: x.ledger)
    let rstd = isRecorded([x, weight]) ? Tensor(rows: 1, columns: x.rows, ledger: x.ledger) : nil
    inParallel(rows: x.rows, columns: x.columns) { rows in
        let start = rows.lowerBound * x.columns
        ck_rms_norm(
            y.pointer + start, rstd.map { $0.pointer + rows.lowerBound }, x.pointer + start, weight.pointer,
            epsilon, rows.count, x.columns)
    }
    guard let rstd else { return y }
    return recorded(y, inputs: [x, weight]) {
        RMSNormPullback(x: x.detached, rstd: rstd, weight: weight.detached)
    }
}

private struct RMSNormPullback: Pullback {
    let x: Tensor
    let rstd: Tensor
    let weight: Tensor
    var saved: [Tensor] { [x, rstd, weight] }

    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        let dx =
            inputs[0] == nil
            ? nil : Tensor(rows: dy.rows, columns: dy.columns, category: .gradients, ledger: dy.ledger)
        let dweight = inputs[1].map { zeroedDestination($0, columns: dy.columns, ledger: dy.ledger) }
        sumInParallel(rows: dy.rows, columns: dy.columns, into: [dweight], ledger: dy.ledger) { rows, sums in
            let start = rows.lowerBound * dy.columns
            ck_rms_norm_backward(
                dx.map { $0.pointer + start }, sums[0], dy.pointer + start, x.pointer + start, weight.pointer,
                rstd.pointer + rows.lowerBound, rows.count, dy.columns)
        }
        if let dx { inputs[0]?.add(dx, fresh: true) }
    }
}

/// A vector destination for kernels that always add.
func zeroedDestination(_ node: Node, columns: Int, ledger: Ledger) -> Tensor {
    let (tensor, beta) = node.destination(rows: 1, columns: columns, ledger: ledger)
    if beta == 0 { tensor.fill(0) }
    return tensor
}
