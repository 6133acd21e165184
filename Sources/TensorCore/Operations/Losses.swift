import CKernels

/// A loss over some rows: the sum of its terms, and, until `backward`, the gradient with respect to what it was computed
/// from. It does not keep that itself: logits over a vocabulary are large.
public final class Loss {
    /// Sum of the terms, unweighted.
    public let sum: Double
    private var root: Node?
    /// d(weight × sum) / d root.
    private var seed: Tensor?

    fileprivate init(sum: Double, root: Tensor, seed: Tensor) {
        self.sum = sum
        self.root = root.node
        self.seed = seed
    }

    /// Differentiates weight × sum, once. Without a weight, or when nothing that the loss depends on is on the tape, there
    /// is nothing to do.
    public func backward() {
        guard let root, let seed, seed.rows > 0 else { return }
        // The gradient of a vocabulary's logits is freed as soon as the head has used it.
        self.seed = nil
        self.root = nil
        differentiate(from: root, seed: seed)
    }
}

/// Sums the cross-entropy of rows of logits against labels.
///
/// - Shapes: logits [n, classes], labels [n].
/// - Parameter weight: 1 / (loss terms of the whole mini-batch), so that the parts of a mini-batch add up under any
///   plan; nil when no gradient is wanted.
public func crossEntropy(_ logits: Tensor, labels: [Int32], weight: Float?) -> Loss {
    precondition(labels.count == logits.rows && logits.isContiguous)
    precondition(
        labels.allSatisfy { $0 >= 0 && $0 < logits.columns }, "cross-entropy: a label outside the classes")
    let seed = Tensor(
        rows: weight == nil ? 0 : logits.rows, columns: logits.columns, category: .gradients,
        ledger: logits.ledger)
    let division = Division(rows: logits.rows, columns: logits.columns)
    let sums = labels.withUnsafeBufferPointer { labels in
        division.map { rows in
            let start = rows.lowerBound * logits.columns
            return ck_cross_entropy(
                weight == nil ? nil : seed.pointer + start, logits.pointer + start,
                labels.baseAddress.map { $0 + rows.lowerBound }, weight ?? 0, rows.count, logits.columns)
        }
    }
    return Loss(sum: sums.reduce(0, +), root: logits, seed: seed)
}

/// Sums the squared errors of predictions against targets.
///
/// - Shapes: predictions [n, 1], targets [n].
public func squaredError(_ predictions: Tensor, targets: [Float], weight: Float?) -> Loss {
    precondition(targets.count == predictions.rows && predictions.columns == 1)
    let seed = Tensor(
        rows: weight == nil ? 0 : predictions.rows, columns: 1, category: .gradients,
        ledger: predictions.ledger)
    var sum = 0.0
    for (i, target) in targets.enumerated() {
        let difference = predictions.pointer[i] - target
        sum += Double(difference) * Double(difference)
        if let weight { seed.pointer[i] = 2 * difference * weight }
    }
    return Loss(sum: sum, root: predictions, seed: seed)
}

/// The class with the largest logit of each row, the lower one on ties.
public func argmax(_ logits: Tensor) -> [Int32] {
    precondition(logits.isContiguous)
    return [Int32](unsafeUninitializedCapacity: logits.rows) { buffer, count in
        if logits.rows > 0 {
            ck_argmax_rows(buffer.baseAddress!, logits.pointer, logits.rows, logits.columns)
        }
        count = logits.rows
    }
}

/// The probabilities of each row of logits, outside the tape.
public func softmax(_ logits: Tensor) -> Tensor {
    precondition(logits.isContiguous)
    let y = Tensor(rows: logits.rows, columns: logits.columns, ledger: logits.ledger)
    ck_softmax_rows(y.pointer, logits.pointer, logits.rows, logits.columns)
    return y
}
