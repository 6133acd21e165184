import CKernels

/// The activation functions of the families.
public enum ActivationFunction: String, Sendable {
    case relu
    /// Exact GELU, 0.5 x (1 + erf(x / √2)).
    case gelu
    /// GELU's tanh form, Hugging Face's "gelu_new".
    case geluTanh = "gelu_new"
    case silu
}

/// Adds two matrices. Saved for backward: nothing.
public func add(_ a: Tensor, _ b: Tensor) -> Tensor {
    precondition(a.rows == b.rows && a.columns == b.columns && a.isContiguous && b.isContiguous)
    let y = Tensor(rows: a.rows, columns: a.columns, ledger: a.ledger)
    y.set(toSumOf: a, b)
    return recorded(y, inputs: [a, b]) { AddPullback() }
}

private struct AddPullback: Pullback {
    var saved: [Tensor] { [] }
    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        for node in inputs { node?.add(dy, fresh: false) }
    }
}

/// Multiplies by a constant. Saved for backward: nothing.
public func scale(_ x: Tensor, by factor: Float) -> Tensor {
    precondition(x.isContiguous)
    let y = Tensor(rows: x.rows, columns: x.columns, ledger: x.ledger)
    y.set(to: x, scaledBy: factor)
    return recorded(y, inputs: [x]) { ScalePullback(factor: factor) }
}

private struct ScalePullback: Pullback {
    let factor: Float
    var saved: [Tensor] { [] }
    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        let dx = Tensor(rows: dy.rows, columns: dy.columns, category: .gradients, ledger: dy.ledger)
        dx.set(to: dy, scaledBy: factor)
        inputs[0]?.add(dx, fresh: true)
    }
}

/// Applies an activation function to every element. Saved for backward: x; for ReLU the result instead, which has the same
/// information in its zeros and is saved by a linear layer behind it anyway.
public func activation(_ x: Tensor, _ function: ActivationFunction) -> Tensor {
    precondition(x.isContiguous)
    let y = Tensor(rows: x.rows, columns: x.columns, ledger: x.ledger)
    function.apply(y, x)
    return recorded(y, inputs: [x]) {
        ActivationPullback(x: function == .relu ? y.detached : x.detached, function: function)
    }
}

private struct ActivationPullback: Pullback {
    /// The argument, or ReLU's result: both are positive in the same places.
    let x: Tensor
    let function: ActivationFunction
    var saved: [Tensor] { [x] }
    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        let dx = Tensor(rows: dy.rows, columns: dy.columns, category: .gradients, ledger: dy.ledger)
        function.applyBackward(dx, dy, x)
        inputs[0]?.add(dx, fresh: true)
    }
}

/// Gates a linear path: f(gate) ⊙ up, the feed-forward of T5 v1.1 and Llama. Saved for backward: gate and up.
public func gatedActivation(gate: Tensor, up: Tensor, _ function: ActivationFunction) -> Tensor {
    precondition(gate.count == up.count && gate.isContiguous && up.isContiguous)
    let y = Tensor(rows: gate.rows, columns: gate.columns, ledger: gate.ledger)
    function.apply(y, gate)
    y.set(toProductOf: y, up)
    return recorded(y, inputs: [gate, up]) {
        GatedActivationPullback(gate: gate.detached, up: up.detached, function: function)
    }
}

private struct GatedActivationPullback: Pullback {
    let gate: Tensor
    let up: Tensor
    let function: ActivationFunction
    var saved: [Tensor] { [gate, up] }
    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        func fresh() -> Tensor {
            Tensor(rows: dy.rows, columns: dy.columns, category: .gradients, ledger: dy.ledger)
        }
        if let node = inputs[1] {
            let dup = fresh()
            function.apply(dup, gate)
            dup.set(toProductOf: dup, dy)
            node.add(dup, fresh: true)
        }
        if let node = inputs[0] {
            let dgate = fresh()
            dgate.set(toProductOf: dy, up)
            function.applyBackward(dgate, dgate, gate)
            node.add(dgate, fresh: true)
        }
    }
}

/// Compares the first half of the rows with the second: [|u - v|, u ⊙ v] for each pair of rows.
///
/// - Shapes: x [2m, d], row i beside row m + i; result [m, 2d].
/// - Saved for backward: x.
/// - Source: the features of InferSent (Conneau et al. 2017) and Sentence-BERT.
public func compareHalves(_ x: Tensor) -> Tensor {
    precondition(x.isContiguous && x.rows % 2 == 0)
    let (m, d) = (x.rows / 2, x.columns)
    let y = Tensor(rows: m, columns: 2 * d, ledger: x.ledger)
    for i in 0..<m {
        let (u, v, out) = (x.pointer + i * d, x.pointer + (m + i) * d, y.pointer + i * 2 * d)
        for j in 0..<d {
            out[j] = abs(u[j] - v[j])
            out[d + j] = u[j] * v[j]
        }
    }
    return recorded(y, inputs: [x]) { CompareHalvesPullback(x: x.detached) }
}

private struct CompareHalvesPullback: Pullback {
    let x: Tensor
    var saved: [Tensor] { [x] }
    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        let (m, d) = (x.rows / 2, x.columns)
        let dx = Tensor(rows: x.rows, columns: d, category: .gradients, ledger: dy.ledger)
        for i in 0..<m {
            let (u, v, g) = (x.pointer + i * d, x.pointer + (m + i) * d, dy.pointer + i * 2 * d)
            let (du, dv) = (dx.pointer + i * d, dx.pointer + (m + i) * d)
            for j in 0..<d {
                let sign: Float = u[j] > v[j] ? 1 : u[j] < v[j] ? -1 : 0
                du[j] = sign * g[j] + v[j] * g[d + j]
                dv[j] = -sign * g[j] + u[j] * g[d + j]
            }
        }
        inputs[0]?.add(dx, fresh: true)
    }
}

/// Applies the hyperbolic tangent. Saved for backward: the result.
public func tanh(_ x: Tensor) -> Tensor {
    precondition(x.isContiguous)
    let y = Tensor(rows: x.rows, columns: x.columns, ledger: x.ledger)
    ck_tanh(y.pointer, x.pointer, x.count)
    return recorded(y, inputs: [x]) { TanhPullback(y: y) }
}

private struct TanhPullback: Pullback {
    let y: Tensor
    var saved: [Tensor] { [y] }
    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        let dx = Tensor(rows: dy.rows, columns: dy.columns, category: .gradients, ledger: dy.ledger)
        ck_tanh_backward(dx.pointer, dy.pointer, y.pointer, dy.count)
        inputs[0]?.add(dx, fresh: true)
    }
}

// On all threads; the tensors are contiguous and have the same count.
extension ActivationFunction {
    /// out = f(x)
    func apply(_ out: Tensor, _ x: Tensor) {
        inParallel(elements: x.count) { part in
            let (out, x, count) = (out.pointer + part.lowerBound, x.pointer + part.lowerBound, part.count)
            switch self {
            case .relu: ck_relu(out, x, count)
            case .gelu: ck_gelu_erf(out, x, count)
            case .geluTanh: ck_gelu_tanh(out, x, count)
            case .silu: ck_silu(out, x, count)
            }
        }
    }

    /// dx = dy ⊙ f'(x); dx may be dy.
    func applyBackward(_ dx: Tensor, _ dy: Tensor, _ x: Tensor) {
        inParallel(elements: x.count) { part in
            let (dx, dy) = (dx.pointer + part.lowerBound, dy.pointer + part.lowerBound)
            let (x, count) = (x.pointer + part.lowerBound, part.count)
            switch self {
            case .relu: ck_relu_backward(dx, dy, x, count)
            case .gelu: ck_gelu_erf_backward(dx, dy, x, count)
            case .geluTanh: ck_gelu_tanh_backward(dx, dy, x, count)
            case .silu: ck_silu_backward(dx, dy, x, count)
            }
        }
    }
}
