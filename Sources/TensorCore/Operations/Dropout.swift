import CKernels

/// Drops elements with a probability, one counter-based stream for each sequence, and scales up the rest.
///
/// The mask of a sequence depends on its key alone, never on which other sequences share the batch or on call order,
/// so a plan cannot change it.
///
/// - Parameters: `spans` are the rows of each sequence, `keys` its stream.
/// - Saved for backward: nothing but the keys; the mask is drawn again.
public func dropout(_ x: Tensor, probability: Float, spans: [Range<Int>], keys: [UInt64]) -> Tensor {
    precondition(spans.count == keys.count)
    guard probability > 0 else { return x }
    let x = x.isContiguous ? x : x.copy().with(node: x.node)
    let mask = DropoutPullback(probability: probability, spans: spans, keys: keys)
    let y = Tensor(rows: x.rows, columns: x.columns, ledger: x.ledger)
    mask.apply(y, x)
    return recorded(y, inputs: [x]) { mask }
}

private struct DropoutPullback: Pullback {
    let probability: Float
    let spans: [Range<Int>]
    let keys: [UInt64]
    var saved: [Tensor] { [] }

    func apply(_ out: Tensor, _ x: Tensor) {
        // By columns would cut the streams: sequences are the parts.
        inParallel(rows: spans.count, columns: x.count / max(1, spans.count)) { sequences in
            for sequence in sequences {
                let start = spans[sequence].lowerBound * x.columns
                ck_dropout(
                    out.pointer + start, x.pointer + start, keys[sequence], 0, probability,
                    spans[sequence].count * x.columns)
            }
        }
    }

    func callAsFunction(_ dy: Tensor, _ inputs: [Node?]) {
        let dx = Tensor(rows: dy.rows, columns: dy.columns, category: .gradients, ledger: dy.ledger)
        apply(dx, dy)
        inputs[0]?.add(dx, fresh: true)
    }
}
