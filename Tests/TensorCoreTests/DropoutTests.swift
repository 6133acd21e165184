import TensorCore
import Testing

@Suite struct DropoutTests {
    @Test("the mask of forward is the mask of backward, strided or not")
    func theMaskOfForwardIsTheMaskOfBackwardStridedOrNot() {
        let spans = [0..<3, 3..<8]
        let ledger = Ledger()
        let ones = DoubleMatrix(8, 6) { _, _ in 1 }
        let mask = dropout(ones.tensor(ledger), probability: 0.3, spans: spans, keys: [5, 6]).values
        #expect(mask.contains(0) && mask.contains { $0 != 0 })
        for stride in [6, 13] {
            checkGradients([.random(8, 6, seed: 1)]) {
                dropout($0[0].spread(over: stride), probability: 0.3, spans: spans, keys: [5, 6])
            } naive: { inputs in
                DoubleMatrix(8, 6) { inputs[0][$0, $1] * Double(mask[$0 * 6 + $1]) }
            }
        }
    }

    @Test("survivors are scaled up and their share is the probability's")
    func survivorsAreScaledUpAndTheirShareIsTheProbabilitys() {
        let ledger = Ledger()
        let ones = DoubleMatrix(1, 100_000) { _, _ in 1 }
        let values = dropout(ones.tensor(ledger), probability: 0.1, spans: [0..<1], keys: [3]).values
        let dropped = values.filter { $0 == 0 }.count
        // Five standard deviations of a binomial: √(100,000 × 0.1 × 0.9) = 95.
        #expect(abs(dropped - 10_000) < 475)
        #expect(values.allSatisfy { $0 == 0 || abs($0 - 1 / 0.9) < 1e-6 })
    }

    @Test("a sequence's mask depends on its key alone") func aSequencesMaskDependsOnItsKeyAlone() {
        let ledger = Ledger()
        let ones = DoubleMatrix(5, 4) { _, _ in 1 }.tensor(ledger)
        let together = dropout(ones, probability: 0.5, spans: [0..<2, 2..<5], keys: [1, 2]).values
        let alone = dropout(ones.rows(0..<3), probability: 0.5, spans: [0..<3], keys: [2]).values
        #expect(Array(together[8...]) == alone)
    }

    @Test("probability zero changes and records nothing") func probabilityZeroChangesAndRecordsNothing() {
        let ledger = Ledger()
        let x = DoubleMatrix.random(2, 3, seed: 1).tensor(ledger).asLeaf
        let y = dropout(x, probability: 0, spans: [0..<2], keys: [1])
        #expect(y.node === x.node && y.storage === x.storage)
    }

    @Test("zero rows are legal") func zeroRowsAreLegal() {
        checkGradients([.random(0, 6, seed: 1)]) {
            dropout($0[0], probability: 0.3, spans: [0..<0], keys: [5])
        } naive: {
            $0[0]
        }
    }
}
