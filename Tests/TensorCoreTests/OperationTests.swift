import TensorCore
import Testing

@Suite struct OperationTests {
    private func random(_ rows: Int, _ columns: Int, _ seed: UInt64) -> DoubleMatrix {
        .random(rows, columns, seed: seed)
    }

    @Test(
        "linear with bias", arguments: [(0, 5, 3), (1, 1, 1), (4, 7, 5), (6, 16, 1), (1, 16, 24), (0, 6, 1)])
    func linearWithBias(rows: Int, inputs: Int, outputs: Int) {
        checkGradients([random(rows, inputs, 1), random(outputs, inputs, 2), random(1, outputs, 3)]) {
            linear($0[0], weight: $0[1], bias: $0[2])
        } naive: {
            Naive.linear($0[0], $0[1], $0[2])
        }
    }

    @Test("linear reads strided rows") func linearReadsStridedRows() {
        checkGradients([random(4, 7, 1), random(5, 7, 2)]) {
            linear($0[0].spread(over: 19, offset: 3), weight: $0[1])
        } naive: {
            Naive.linear($0[0], $0[1], nil)
        }
    }

    @Test("layer norm", arguments: [0, 1, 5])
    func checksLayerNorm(rows: Int) {
        checkGradients([random(rows, 12, 1), random(1, 12, 2), random(1, 12, 3)]) {
            layerNorm($0[0], weight: $0[1], bias: $0[2], epsilon: 1e-3)
        } naive: {
            Naive.layerNorm($0[0], $0[1], $0[2], Double(Float(1e-3)))
        }
    }

    @Test("layer norm of a sum", arguments: [0, 3])
    func layerNormOfASum(rows: Int) {
        checkGradients([random(rows, 9, 1), random(rows, 9, 2), random(1, 9, 3), random(1, 9, 4)]) {
            layerNorm($0[0], adding: $0[1], weight: $0[2], bias: $0[3], epsilon: 1e-5)
        } naive: {
            let (x, y) = ($0[0], $0[1])
            let sum = DoubleMatrix(x.rows, x.columns) { i, j in x[i, j] + y[i, j] }
            return Naive.layerNorm(sum, $0[2], $0[3], Double(Float(1e-5)))
        }
    }

    @Test("root mean square norm", arguments: [0, 1, 5])
    func rootMeanSquareNorm(rows: Int) {
        checkGradients([random(rows, 12, 1), random(1, 12, 2)]) {
            rmsNorm($0[0], weight: $0[1], epsilon: 1e-3)
        } naive: {
            Naive.rmsNorm($0[0], $0[1], Double(Float(1e-3)))
        }
    }

    private static let functions: [(kind: ActivationFunction, naive: @Sendable (Double) -> Double)] = [
        (.relu, { max($0, 0) }),
        (.gelu, { 0.5 * $0 * (1 + Naive.erf($0 / 2.0.squareRoot())) }),
        (
            .geluTanh,
            { 0.5 * $0 * (1 + Naive.tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }
        ),
        (.silu, { $0 * Naive.sigmoid($0) }),
    ]

    @Test("activations, plain and gated", arguments: 0..<4, [0, 5])
    func activationsPlainAndGated(function: Int, rows: Int) {
        let (kind, f) = Self.functions[function]
        checkGradients([random(rows, 7, 1)]) {
            activation(scale($0[0], by: 4), kind)
        } naive: { inputs in
            DoubleMatrix(rows, 7) { f(4 * inputs[0][$0, $1]) }
        }
        checkGradients([random(rows, 7, 1), random(rows, 7, 2)]) {
            gatedActivation(gate: $0[0], up: $0[1], kind)
        } naive: { inputs in
            DoubleMatrix(rows, 7) { f(inputs[0][$0, $1]) * inputs[1][$0, $1] }
        }
    }

    @Test("tanh, scale and add", arguments: [0, 4])
    func tanhScaleAndAdd(rows: Int) {
        checkGradients([random(rows, 5, 1), random(rows, 5, 2)]) {
            add(tanh($0[0]), scale($0[1], by: -2.5))
        } naive: { inputs in
            DoubleMatrix(rows, 5) { Naive.tanh(inputs[0][$0, $1]) - 2.5 * inputs[1][$0, $1] }
        }
    }

    @Test("the gate and both of its paths", arguments: [0, 4])
    func theGateAndBothOfItsPaths(rows: Int) {
        checkGradients([random(1, 1, 1), random(rows, 6, 2), random(rows, 6, 3)]) {
            gateMix(alpha: $0[0], temperature: 0.5, $0[1], $0[2])
        } naive: { inputs in
            let g = Naive.sigmoid(inputs[0][0, 0] / 0.5)
            return DoubleMatrix(rows, 6) { g * inputs[1][$0, $1] + (1 - g) * inputs[2][$0, $1] }
        }
    }

    @Test("a sum of embeddings, with repeated ids", arguments: [[], [3, 0, 3, 6] as [Int32]])
    func aSumOfEmbeddingsWithRepeatedIds(ids: [Int32]) {
        let other = ids.map { ($0 + 1) % 2 }
        checkGradients([random(7, 5, 1), random(2, 5, 2)]) {
            embedding([($0[0], ids), ($0[1], other)])
        } naive: { inputs in
            DoubleMatrix(ids.count, 5) { inputs[0][Int(ids[$0]), $1] + inputs[1][Int(other[$0]), $1] }
        }
    }

    @Test("selected rows, strided and repeated", arguments: [[], [2, 0, 2]])
    func selectedRowsStridedAndRepeated(rows: [Int]) {
        checkGradients([random(4, 6, 1)]) {
            select($0[0].spread(over: 11), .rows(rows))
        } naive: { inputs in
            DoubleMatrix(rows.count, 6) { inputs[0][rows[$0], $1] }
        }
    }

    @Test("means over sequences") func meansOverSequences() {
        let spans = [0..<1, 1..<4, 2..<6]
        checkGradients([random(6, 3, 1)]) {
            select($0[0].spread(over: 8), .meanPerSequence(spans))
        } naive: { inputs in
            DoubleMatrix(3, 3) { i, j in
                spans[i].reduce(0) { $0 + inputs[0][$1, j] } / Double(spans[i].count)
            }
        }
    }

    @Test("the padding row of a table gets no gradient from its lookup")
    func thePaddingRowOfATableGetsNoGradientFromItsLookup() {
        let ledger = Ledger()
        let tables = [random(4, 3, 1), random(4, 3, 2)].map { $0.tensor(ledger).asLeaf }
        let y = embedding([(tables[0], [1, 0, 1]), (tables[1], [1, 0, 2])], paddingID: 1)
        let seed = Tensor([Float](repeating: 1, count: 9), rows: 3, columns: 3, ledger: ledger)
        backward(from: [y], seeds: [seed])
        let rows = tables.map { table in
            (0..<4).map { table.node!.gradient!.values[$0 * 3] }
        }
        #expect(rows == [[1, 0, 0, 0], [1, 1, 1, 0]])
    }

    @Test("the halves of the rows compared", arguments: [0, 1, 4])
    func theHalvesOfTheRowsCompared(pairs: Int) {
        checkGradients([random(2 * pairs, 5, 1)]) {
            compareHalves($0[0])
        } naive: { inputs in
            let x = inputs[0]
            return DoubleMatrix(pairs, 10) { i, j in
                let (u, v) = (x[i, j % 5], x[pairs + i, j % 5])
                return j < 5 ? abs(u - v) : u * v
            }
        }
    }

    @Test("one tensor read by several operations collects all their gradients")
    func oneTensorReadBySeveralOperationsCollectsAllTheirGradients() {
        // add hands the same gradient to both of its inputs: neither may write into the other's.
        checkGradients([random(3, 4, 1), random(3, 4, 2)]) { inputs in
            let sum = add(inputs[0], inputs[1])
            let twice = add(sum, sum)
            let product = gatedActivation(gate: sum, up: inputs[0], .silu)
            return add(add(twice, inputs[0]), add(product, tanh(inputs[1])))
        } naive: { inputs in
            DoubleMatrix(3, 4) { i, j in
                let (a, b) = (inputs[0][i, j], inputs[1][i, j])
                let s = a + b
                return 2 * s + a + s * Naive.sigmoid(s) * a + Naive.tanh(b)
            }
        }
    }

    @Test("a tensor whose gradient was handed over and is then written to")
    func aTensorWhoseGradientWasHandedOverAndIsThenWrittenTo() {
        // linear puts its input's gradient in place: into a copy when add has handed over its own before.
        checkGradients([random(3, 4, 1), random(4, 4, 2)]) { inputs in
            let x = scale(inputs[0], by: 1)
            let y = scale(inputs[0], by: 3)
            return add(linear(x, weight: inputs[1]), add(x, y))
        } naive: { inputs in
            let product = Naive.linear(inputs[0], inputs[1], nil)
            return DoubleMatrix(3, 4) { 4 * inputs[0][$0, $1] + product[$0, $1] }
        }
    }

    @Test("a layer norm's input and residual share a gradient and then part")
    func aLayerNormsInputAndResidualShareAGradientAndThenPart() {
        checkGradients([random(3, 4, 1), random(1, 4, 2), random(1, 4, 3), random(4, 4, 4)]) { inputs in
            let x = scale(inputs[0], by: 1)
            let y = scale(inputs[0], by: 2)
            let product = linear(x, weight: inputs[3])
            return add(product, layerNorm(x, adding: y, weight: inputs[1], bias: inputs[2], epsilon: 1e-3))
        } naive: { inputs in
            let sum = DoubleMatrix(3, 4) { 3 * inputs[0][$0, $1] }
            let normed = Naive.layerNorm(sum, inputs[1], inputs[2], Double(Float(1e-3)))
            let product = Naive.linear(inputs[0], inputs[3], nil)
            return DoubleMatrix(3, 4) { normed[$0, $1] + product[$0, $1] }
        }
    }
}
