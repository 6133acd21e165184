import TensorCore
import Testing

@Suite struct TapeTests {
    private let ledger = Ledger()

    private func tensor(_ rows: Int, _ columns: Int, _ seed: UInt64) -> Tensor {
        DoubleMatrix.random(rows, columns, seed: seed).tensor(ledger)
    }

    @Test("a chain cut at a boundary has the gradients of the whole chain")
    func aChainCutAtABoundaryHasTheGradientsOfTheWholeChain() {
        let (x, w, v) = (tensor(3, 4, 1).asLeaf, tensor(5, 4, 2).asLeaf, tensor(2, 5, 3).asLeaf)
        let seed = tensor(3, 2, 4)
        backward(from: [linear(tanh(linear(x, weight: w)), weight: v)], seeds: [seed])
        let whole = [x, w, v].map { $0.node!.gradient!.values }

        let (x2, w2, v2) = (x.detached.asLeaf, w.detached.asLeaf, v.detached.asLeaf)
        let sent = tanh(linear(x2, weight: w2))
        let received = sent.copy().asLeaf
        backward(from: [linear(received, weight: v2)], seeds: [seed])
        #expect(w2.node!.gradient == nil)
        backward(from: [sent], seeds: [received.node!.gradient!])
        #expect([x2, w2, v2].map { $0.node!.gradient!.values } == whole)
    }

    @Test("several roots, one of them inside the other's graph")
    func severalRootsOneOfThemInsideTheOthersGraph() {
        let x = tensor(2, 3, 1).asLeaf
        let middle = scale(x, by: 2)
        let end = scale(middle, by: 5)
        let (a, b) = (tensor(2, 3, 2), tensor(2, 3, 3))
        backward(from: [middle, end, tensor(2, 3, 9)], seeds: [a, b, b])
        let expected = zip(a.values, b.values).map { 2 * $0 + 10 * $1 }
        #expect(zip(x.node!.gradient!.values, expected).allSatisfy { abs($0 - $1) < 1e-5 })
        #expect(a.values == tensor(2, 3, 2).values && b.values == tensor(2, 3, 3).values, "a seed changed")
    }

    @Test("a seed at a leaf is its gradient") func aSeedAtALeafIsItsGradient() {
        let x = tensor(2, 3, 1).asLeaf
        let seed = tensor(2, 3, 2)
        backward(from: [x, x], seeds: [seed, seed])
        #expect(x.node!.gradient!.values == seed.values.map { 2 * $0 })
    }

    @Test("saved bytes count each storage once and no weights")
    func savedBytesCountEachStorageOnceAndNoWeights() {
        let w = Tensor(rows: 4, columns: 4, category: .weights, ledger: ledger)
        w.fill(0.5)
        let x = tensor(3, 4, 1).asLeaf
        let trained = w.with(node: Node(leaf: nil, ledger: ledger))
        // Both matrices read x, which is saved once.
        let y = add(linear(x, weight: trained), linear(x, weight: trained))
        #expect(y.node!.savedBytes() == 3 * 4 * 4)
        #expect(linear(x, weight: w).node!.savedBytes() == 0)
    }

    @Test("the ledger returns to zero when everything is let go")
    func theLedgerReturnsToZeroWhenEverythingIsLetGo() {
        do {
            let x = tensor(5, 8, 1).asLeaf
            let y = layerNorm(
                activation(x, .gelu), weight: tensor(1, 8, 2).asLeaf, bias: tensor(1, 8, 3).asLeaf,
                epsilon: 1e-5)
            #expect(ledger.live(.activations) > 0)
            backward(from: [y], seeds: [tensor(5, 8, 4)])
            #expect(ledger.live(.gradients) == (5 * 8 + 2 * 8) * 4)
        }
        #expect(ledger.liveBytes.allSatisfy { $0 == 0 })
        #expect(ledger.peak(.activations) > 0 && ledger.peakTotalBytes >= ledger.peak(.activations))
        ledger.resetPeaks()
        #expect(ledger.peakTotalBytes == 0 && ledger.peakBytes.allSatisfy { $0 == 0 })
    }

    @Test("peaks are what was live at once") func peaksAreWhatWasLiveAtOnce() {
        func use(_ count: Int) {
            Tensor(rows: 1, columns: count, category: .exchange, ledger: ledger).fill(0)
        }
        use(100)
        use(50)
        #expect(ledger.peak(.exchange) == 400 && ledger.live(.exchange) == 0)
        ledger.register(1000, .cache)
        use(100)
        #expect(ledger.peakTotalBytes == 1400)
        ledger.release(1000, .cache)
        #expect(ledger.live(.cache) == 0 && ledger.peak(.cache) == 1000)
    }
}
