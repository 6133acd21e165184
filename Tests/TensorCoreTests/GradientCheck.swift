import Support
import TensorCore
import Testing

/// Compares an operation and its gradients with a naive version in double precision.
///
/// The result is compared directly; gradients with central differences of the naive version, for a random gradient of the
/// output. Every input is a leaf alone and together with the others, and once more as a parameter whose gradient adds up
/// over two passes. Afterwards no activation may be left on the ledger.
func checkGradients(
    _ inputs: [DoubleMatrix], tolerance: Double = 2e-5, _ operation: ([Tensor]) -> Tensor,
    naive: ([DoubleMatrix]) -> DoubleMatrix, sourceLocation: SourceLocation = #_sourceLocation
) {
    let expected = naive(inputs)
    let seed = DoubleMatrix.random(expected.rows, expected.columns, seed: 99)
    let gradients = inputs.indices.map { numericalGradient(inputs, $0, seed, naive) }
    let ledger = Ledger()

    func compare(_ found: [Float], _ reference: [Double], _ what: String) {
        #expect(found.count == reference.count, "\(what)", sourceLocation: sourceLocation)
        let scale = max(1, reference.reduce(0) { max($0, abs($1)) })
        let worst = zip(found, reference).map { abs(Double($0) - $1) }.reduce(0) { $1 <= $0 ? $0 : $1 }
        #expect(worst <= tolerance * scale, "\(what): error \(worst)", sourceLocation: sourceLocation)
    }

    // Nothing wants a gradient: nothing is recorded.
    compare(operation(inputs.map { $0.tensor(ledger) }).values, expected.values, "result")
    #expect(ledger.recordedNodeCount == 0, sourceLocation: sourceLocation)

    for leaves in inputs.indices.map({ [$0] }) + [Array(inputs.indices)] {
        poison(ledger)
        let tensors = inputs.enumerated().map {
            leaves.contains($0) ? $1.tensor(ledger).asLeaf : $1.tensor(ledger)
        }
        let y = operation(tensors)
        compare(y.values, expected.values, "recorded result")
        backward(from: [y], seeds: [seed.tensor(ledger)])
        for i in leaves {
            let found = tensors[i].node?.gradient
            #expect(found != nil, "input \(i) has no gradient", sourceLocation: sourceLocation)
            compare(found?.values ?? [], gradients[i], "gradient of input \(i) among \(leaves)")
        }
    }

    // Accumulators keep what they have: here 1.
    let accumulators = inputs.map { input in
        let tensor = Tensor(rows: input.rows, columns: input.columns, category: .gradients, ledger: ledger)
        tensor.fill(1)
        return tensor
    }
    for _ in 0..<2 {
        let parameters = zip(inputs, accumulators).map {
            $0.tensor(ledger).with(node: Node(leaf: $1, ledger: ledger))
        }
        backward(from: [operation(parameters)], seeds: [seed.tensor(ledger)])
    }
    for (i, accumulator) in accumulators.enumerated() {
        compare(accumulator.values, gradients[i].map { 1 + 2 * $0 }, "accumulated gradient of input \(i)")
    }
    #expect(
        ledger.live(.activations) == 0, "saved tensors outlive their pass", sourceLocation: sourceLocation)
}

/// Leaves not-a-number in freed memory of many sizes, so that a kernel that adds to what it should overwrite shows.
private func poison(_ ledger: Ledger) {
    let sizes = [1, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512]
    let tensors = sizes.map { Tensor(rows: 1, columns: $0, ledger: ledger) }
    for tensor in tensors { tensor.fill(.nan) }
}

private func numericalGradient(
    _ inputs: [DoubleMatrix], _ index: Int, _ seed: DoubleMatrix, _ naive: ([DoubleMatrix]) -> DoubleMatrix
) -> [Double] {
    let step = 1e-5
    func weighted(_ element: Int, _ change: Double) -> Double {
        var changed = inputs
        changed[index].values[element] += change
        return zip(naive(changed).values, seed.values).reduce(0) { $0 + $1.0 * $1.1 }
    }
    return inputs[index].values.indices.map { (weighted($0, step) - weighted($0, -step)) / (2 * step) }
}

extension Tensor {
    /// The same numbers with rows further apart, as in a cache that holds several layers; the node stays.
    func spread(over stride: Int, offset: Int = 0) -> Tensor {
        let storage = Storage(count: offset + rows * stride, category: .cache, ledger: ledger)
        for i in 0..<storage.count { storage.pointer[i] = .nan }
        for i in 0..<rows {
            (storage.pointer + offset + i * stride).update(from: pointer + i * rowStride, count: columns)
        }
        return Tensor(storage, offset: offset, rows: rows, columns: columns, rowStride: stride, node: node)
    }
}
