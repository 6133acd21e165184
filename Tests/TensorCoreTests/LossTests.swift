import TensorCore
import Testing

@Suite struct LossTests {
    private let weight: Float = 0.125

    @Test("cross-entropy and its gradient") func crossEntropyAndItsGradient() {
        let labels: [Int32] = [0, 4, 2, 2]
        check(.random(4, 5, seed: 1)) { x in
            (0..<x.rows).reduce(0) { sum, i in
                let total = (0..<x.columns).reduce(0) { $0 + Naive.exp(x[i, $1]) }
                return sum + Naive.log(total) - x[i, Int(labels[i])]
            }
        } operation: {
            crossEntropy($0, labels: labels, weight: $1)
        }
    }

    @Test("squared error and its gradient") func squaredErrorAndItsGradient() {
        let targets: [Float] = [0.5, -1, 2]
        check(.random(3, 1, seed: 2)) { x in
            zip(x.values, targets).reduce(0) { $0 + ($1.0 - Double($1.1)) * ($1.0 - Double($1.1)) }
        } operation: {
            squaredError($0, targets: targets, weight: $1)
        }
    }

    @Test("cross-entropy of huge logits is finite") func crossEntropyOfHugeLogitsIsFinite() {
        let ledger = Ledger()
        let logits = Tensor([1e4, -1e4, 0, -1e4, -1e4, -1e4], rows: 2, columns: 3, ledger: ledger).asLeaf
        let loss = crossEntropy(logits, labels: [1, 0], weight: 1)
        #expect(abs(loss.sum - (2e4 + Naive.log(3))) < 1e-2)
        loss.backward()
        #expect(logits.node!.gradient!.values.allSatisfy { $0.isFinite })
    }

    @Test("no rows, no loss") func noRowsNoLoss() {
        let ledger = Ledger()
        let empty = Tensor(rows: 0, columns: 3, ledger: ledger).asLeaf
        let loss = crossEntropy(empty, labels: [], weight: 1)
        #expect(loss.sum == 0)
        loss.backward()
        let scores = squaredError(Tensor(rows: 0, columns: 1, ledger: ledger), targets: [], weight: 1)
        #expect(scores.sum == 0 && argmax(empty).isEmpty && softmax(empty).rows == 0)
    }

    @Test("the largest logit, the lower class on ties") func theLargestLogitTheLowerClassOnTies() {
        let ledger = Ledger()
        let logits = Tensor([1, 3, 3, -1, -2, -1], rows: 2, columns: 3, ledger: ledger)
        #expect(argmax(logits) == [1, 0])
        for (i, row) in [[1.0, 3, 3], [-1, -2, -1]].enumerated() {
            let total = row.reduce(0) { $0 + Naive.exp($1) }
            for (found, x) in zip(softmax(logits).values[i * 3..<i * 3 + 3], row) {
                #expect(abs(Double(found) - Naive.exp(x) / total) < 1e-6)
            }
        }
    }

    private func check(
        _ inputs: DoubleMatrix, _ naive: (DoubleMatrix) -> Double, operation: (Tensor, Float?) -> Loss
    ) {
        let ledger = Ledger()
        let x = inputs.tensor(ledger).asLeaf
        let loss = operation(x, weight)
        #expect(abs(loss.sum - naive(inputs)) < 1e-5)
        loss.backward()
        for i in inputs.values.indices {
            func changed(_ step: Double) -> Double {
                var inputs = inputs
                inputs.values[i] += step
                return naive(inputs)
            }
            let expected = (changed(1e-5) - changed(-1e-5)) / 2e-5 * Double(weight)
            #expect(abs(Double(x.node!.gradient!.values[i]) - expected) < 1e-6)
        }
        #expect(operation(x.detached, nil).sum == loss.sum)
    }
}
