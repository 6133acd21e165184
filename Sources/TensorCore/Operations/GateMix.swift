import CKernels

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Mixes the side path with a down-projected activation: u = g a + (1 - g) d, with g = σ(α / T).
///
/// - Shapes: alpha [1, 1], a and d [n, r]; result [n, r].
/// - Saved for backward: a and d (for the gate's gradient).
/// - Source: the gate of Ladder Side-Tuning (Sung, Cho, Bansal 2022).
public func gateMix(alpha: Tensor, temperature: Float, _ a: Tensor, _ d: Tensor) -> Tensor {
    precondition(a.count == d.count && a.isContiguous && d.isContiguous)
    let g = 1 / (1 + exp(-alpha.pointer[0] / temperature))
    let u = Tensor(rows: a.rows, columns: a.columns, ledger: a.ledger)
    inParallel(elements: u.count) {
        ck_mix(
            u.pointer + $0.lowerBound, g, a.pointer + $0.lowerBound, d.pointer + $0.lowerBound, $0.count)
    }
    return recorded(u, inputs: [alpha, a, d]) {
        GateMixPullback(g: g, temperature: temperature, a: a.detached, d: d.detached)
    }
}

private struct GateMixPullback: Pullback {
    let g: Float
    let temperature: Float
    let a: Tensor
    let d: Tensor
    var saved: [Tensor] { [a, d] }

    func callAsFunction(_ du: Tensor, _ inputs: [Node?]) {
        if let node = inputs[0] {
            let (dalpha, beta) = node.destination(rows: 1, columns: 1, ledger: du.ledger)
            let slope = Double(g * (1 - g) / temperature)
            let value = Float(slope * ck_dot_difference(a.pointer, d.pointer, du.pointer, du.count))
            dalpha.pointer[0] = (beta == 0 ? 0 : dalpha.pointer[0]) + value
        }
        for (node, factor) in [(inputs[1], g), (inputs[2], 1 - g)] {
            guard let node else { continue }
            let gradient = Tensor(rows: du.rows, columns: du.columns, category: .gradients, ledger: du.ledger)
            gradient.set(to: du, scaledBy: factor)
            node.add(gradient, fresh: true)
        }
    }
}
