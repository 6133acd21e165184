import TensorCore
import Testing

/// What several threads compute is what one computes: shapes large enough to be divided, and not in equal parts.
///
/// The number of threads is the process's: the tests of this suite take turns, and others that run beside them only see their
/// loops divided.
@Suite(.serialized) struct ThreadTests {
    private let ledger = Ledger()

    /// The result of an operation and its inputs' gradients, on some threads.
    private func passes(
        _ threads: Int, _ inputs: [DoubleMatrix], _ operation: ([Tensor]) -> Tensor
    ) -> [[Float]] {
        #expect(setThreadCount(threads) == threads)
        defer { setThreadCount(1) }
        let leaves = inputs.map { $0.tensor(ledger).asLeaf }
        let y = operation(leaves)
        backward(
            from: [y], seeds: [DoubleMatrix.random(y.rows, y.columns, seed: 99).tensor(ledger)])
        return [y.values] + leaves.map { $0.node!.gradient!.values }
    }

    private func compare(
        _ inputs: [DoubleMatrix], isExact: Bool = false, _ operation: ([Tensor]) -> Tensor,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let alone = passes(1, inputs, operation)
        for threads in [2, 3, 5] {
            for (index, (one, many)) in zip(alone, passes(threads, inputs, operation)).enumerated() {
                let scale = one.reduce(0) { max($0, abs($1)) }
                let worst = zip(one, many).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
                #expect(one.count == many.count && scale > 0, sourceLocation: sourceLocation)
                #expect(
                    isExact ? one == many : worst <= 2e-6 * scale,
                    "\(threads) threads, value \(index): \(worst) of \(scale)", sourceLocation: sourceLocation
                )
            }
        }
    }

    private func random(_ rows: Int, _ columns: Int, _ seed: UInt64) -> DoubleMatrix {
        .random(rows, columns, seed: seed)
    }

    @Test(
        "matrix products, high and wide",
        arguments: [(301, 130, 97), (33, 61, 1203), (1501, 64, 16), (97, 2000, 33)])
    func matrixProducts(rows: Int, inputs: Int, outputs: Int) {
        compare([random(rows, inputs, 1), random(outputs, inputs, 2), random(1, outputs, 3)]) {
            linear($0[0], weight: $0[1], bias: $0[2])
        }
    }

    @Test(
        "products with a frozen matrix in half precision",
        arguments: [(301, 130, 97), (33, 61, 1203), (1501, 64, 16), (97, 2000, 333)])
    func frozenMatrixProducts(rows: Int, inputs: Int, outputs: Int) {
        let weight = HalfMatrix(.bfloat16, outputs, inputs, seed: 2).weight(Ledger())
        compare([random(rows, inputs, 1)]) { linear($0[0], weight: weight) }
    }

    @Test("attention", arguments: [4, 18], [1, 6])
    func attentions(headSize: Int, keyValueHeads: Int) {
        let spans = [0..<130, 130..<131, 131..<290]
        let shape = AttentionShape(
            querySpans: spans, keySpans: spans, headCount: 6, keyValueHeadCount: keyValueHeads,
            headSize: headSize, scale: 0.5, isCausal: true)
        let dropout = AttentionDropout(probability: 0.3, keys: [1, 2, 3])
        compare([
            random(290, 6 * headSize, 1), random(290, keyValueHeads * headSize, 2),
            random(290, keyValueHeads * headSize, 3), random(8, 6, 4),
        ]) {
            let bias = PositionBias(table: $0[3]) { min(7, abs($0) / 20) }
            return attention($0[0], $0[1], $0[2], shape, bias: bias, dropout: dropout)
        }
    }

    @Test("norms") func norms() {
        compare([random(701, 64, 1), random(701, 64, 2), random(1, 64, 3), random(1, 64, 4)]) {
            rmsNorm(
                layerNorm($0[0], adding: $0[1], weight: $0[2], bias: $0[3], epsilon: 1e-5), weight: $0[2],
                epsilon: 1e-5)
        }
    }

    @Test("loops over elements, to the bit", arguments: [ActivationFunction.relu, .gelu, .geluTanh, .silu])
    func loopsOverElements(function: ActivationFunction) {
        let spans = [0..<300, 300..<301, 301..<901]
        compare([random(901, 60, 1), random(901, 60, 2)], isExact: true) {
            let sum = add(scale($0[0], by: 3), gatedActivation(gate: $0[0], up: $0[1], function))
            return dropout(activation(sum, function), probability: 0.2, spans: spans, keys: [5, 6, 7])
        }
    }

    @Test("a gate") func aGate() {
        compare([random(1, 1, 1), random(901, 60, 2), random(901, 60, 3)]) {
            gateMix(alpha: $0[0], temperature: 0.1, $0[1], $0[2])
        }
    }

    @Test("rotary positions, to the bit") func rotaryPositions() {
        let table = RotaryTable(frequencies: [1, 0.3, 0.01], positionCount: 400, ledger: ledger)
        compare([random(901, 60, 1)], isExact: true) {
            rotate($0[0], positions: (0..<901).map { Int32($0 % 400) }, table)
        }
    }

    @Test("cross-entropy") func crossEntropies() {
        let logits = random(90, 1000, 1)
        func loss(_ threads: Int) -> (sum: Double, gradient: [Float]) {
            setThreadCount(threads)
            defer { setThreadCount(1) }
            let leaf = logits.tensor(ledger).asLeaf
            let loss = crossEntropy(leaf, labels: (0..<90).map { Int32($0 * 11) }, weight: 0.5)
            loss.backward()
            return (loss.sum, leaf.node!.gradient!.values)
        }
        let (one, three) = (loss(1), loss(3))
        #expect(abs(one.sum - three.sum) < 1e-9 * one.sum)
        #expect(one.gradient == three.gradient)
    }

    @Test("AdamW, to the bit") func adamW() {
        func values(_ threads: Int) -> [Float] {
            setThreadCount(threads)
            defer { setThreadCount(1) }
            let bucket = ParameterBucket([.init(name: "p", shape: [100_003])], ledger: ledger)
            let numbers = DoubleMatrix.random(1, 100_003, seed: 1).tensor(ledger)
            bucket.set("p", numbers.values)
            bucket.gradients.pointer.update(from: numbers.pointer, count: numbers.count)
            let adamW = AdamW(parameterCount: 100_003, weightDecay: 0.1, ledger: ledger)
            for _ in 0..<2 { adamW.step(bucket, learningRate: 0.01, gradientScale: 1) }
            return bucket.values.values
        }
        #expect(values(1) == values(3))
    }

    @Test("callers that meet all get their results") func callersThatMeet() async {
        let (x, w) = (random(301, 130, 1), random(97, 130, 2))
        let expected = passes(1, [x, w]) { linear($0[0], weight: $0[1]) }[0]
        setThreadCount(3)
        defer { setThreadCount(1) }
        await withTaskGroup(of: Float.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    let ledger = Ledger()
                    return (0..<200).reduce(Float(0)) { worst, _ in
                        let y = linear(x.tensor(ledger), weight: w.tensor(ledger)).values
                        return zip(y, expected).reduce(worst) { max($0, abs($1.0 - $1.1)) }
                    }
                }
            }
            for await worst in group { #expect(worst < 1e-4) }
        }
    }
}
