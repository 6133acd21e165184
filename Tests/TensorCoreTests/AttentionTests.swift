import TensorCore
import Testing

@Suite struct AttentionTests {
    struct Geometry: Sendable, CustomTestStringConvertible {
        var name = ""
        var queries = [0..<3, 3..<4, 4..<9]
        var keys = [0..<3, 3..<4, 4..<9]
        var heads = 2
        var keyValueHeads = 2
        var headSize = 4
        var isCausal = false

        var testDescription: String { name }
        var shape: AttentionShape {
            AttentionShape(
                querySpans: queries, keySpans: keys, headCount: heads, keyValueHeadCount: keyValueHeads,
                headSize: headSize, scale: 0.75, isCausal: isCausal)
        }
        var inputs: [DoubleMatrix] {
            let (n, m) = (queries.last?.upperBound ?? 0, keys.last?.upperBound ?? 0)
            return [
                .random(n, heads * headSize, seed: 1), .random(m, keyValueHeads * headSize, seed: 2),
                .random(m, keyValueHeads * headSize, seed: 3),
            ]
        }
    }

    static let geometries = [
        Geometry(name: "narrow heads"), Geometry(name: "one column a head", headSize: 1),
        Geometry(name: "widest narrow heads", heads: 1, keyValueHeads: 1, headSize: 16),
        Geometry(name: "wide heads", headSize: 17), Geometry(name: "causal", isCausal: true),
        Geometry(name: "wide and causal", headSize: 20, isCausal: true),
        Geometry(name: "grouped queries", heads: 4, keyValueHeads: 2, headSize: 3),
        Geometry(name: "wide grouped queries", heads: 4, keyValueHeads: 1, headSize: 18, isCausal: true),
        Geometry(name: "cross", queries: [0..<2, 2..<3], keys: [0..<4, 4..<9]),
        Geometry(name: "wide cross", queries: [0..<2, 2..<3], keys: [0..<4, 4..<9], headSize: 18),
        Geometry(
            name: "one token after others", queries: [0..<1, 1..<2], keys: [0..<4, 4..<9], isCausal: true),
        Geometry(name: "a sequence without queries", queries: [0..<0, 0..<2], keys: [0..<3, 3..<5]),
        Geometry(
            name: "wide, a sequence without queries", queries: [0..<0, 0..<2], keys: [0..<3, 3..<5],
            headSize: 18),
        Geometry(name: "no sequence", queries: [], keys: []),
    ]

    @Test("attention without bias", arguments: geometries)
    func attentionWithoutBias(geometry: Geometry) {
        checkGradients(geometry.inputs) {
            attention($0[0], $0[1], $0[2], geometry.shape)
        } naive: {
            Naive.attention($0[0], $0[1], $0[2], geometry.shape)
        }
    }

    @Test("attention with a table of biases by distance", arguments: geometries)
    func attentionWithATableOfBiasesByDistance(geometry: Geometry) {
        // Buckets that several distances share, not symmetric.
        let bucket = { (distance: Int) in distance > 0 ? 0 : min(3, 1 - distance / 2) }
        checkGradients(geometry.inputs + [.random(4, geometry.heads, seed: 4)]) {
            attention($0[0], $0[1], $0[2], geometry.shape, bias: PositionBias(table: $0[3], bucket: bucket))
        } naive: { inputs in
            Naive.attention(
                inputs[0], inputs[1], inputs[2], geometry.shape, bias: { inputs[3][bucket($1), $0] })
        }
    }

    @Test("dropped probabilities keep their mask in backward", arguments: [4, 18])
    func droppedProbabilitiesKeepTheirMaskInBackward(headSize: Int) {
        let geometry = Geometry(headSize: headSize)
        let dropout = AttentionDropout(probability: 0.4, keys: [7, 8, 9])
        let mask = droppedMask(geometry, dropout)
        let factors = mask.values.joined().joined()
        #expect(factors.contains(0) && factors.contains { $0 != 0 })
        #expect(factors.allSatisfy { $0 == 0 || abs($0 - 1 / 0.6) < 1e-5 })
        checkGradients(geometry.inputs) {
            attention($0[0], $0[1], $0[2], geometry.shape, dropout: dropout)
        } naive: { inputs in
            Naive.attention(
                inputs[0], inputs[1], inputs[2], geometry.shape, mask: { mask[[$0, $1]]![$2][$3] })
        }
    }

    @Test("a sequence's dropout does not depend on its neighbours")
    func aSequencesDropoutDoesNotDependOnItsNeighbours() {
        let ledger = Ledger()
        let inputs = Geometry().inputs.map { $0.tensor(ledger) }
        func last(_ geometry: Geometry, keys: [UInt64]) -> [Float] {
            let dropout = AttentionDropout(probability: 0.5, keys: keys)
            return attention(inputs[0], inputs[1], inputs[2], geometry.shape, dropout: dropout)
                .rows(4..<9).values
        }
        let one = Geometry(queries: [4..<9], keys: [4..<9])
        #expect(last(Geometry(), keys: [7, 8, 9]) == last(one, keys: [9]))
        #expect(last(one, keys: [10]) != last(one, keys: [9]))
    }

    /// What dropout multiplies each probability by, seen through values that are rows of the unit matrix.
    private func droppedMask(_ geometry: Geometry, _ dropout: AttentionDropout) -> [[Int]: [[Double]]] {
        let ledger = Ledger()
        let width = geometry.keys.map(\.count).max()!
        var probe = geometry
        probe.headSize = width
        let rows = geometry.keys.last!.upperBound
        var units = DoubleMatrix(rows, probe.heads * width) { _, _ in 0 }
        let zeros = units
        for span in geometry.keys {
            for (t, row) in span.enumerated() {
                for head in 0..<probe.heads { units[row, head * width + t] = 1 }
            }
        }
        let out = attention(
            zeros.tensor(ledger), zeros.tensor(ledger), units.tensor(ledger), probe.shape, dropout: dropout)
        var mask: [[Int]: [[Double]]] = [:]
        for (sequence, span) in geometry.queries.enumerated() {
            for head in 0..<probe.heads {
                // Without scores every probability is 1 / count.
                mask[[sequence, head]] = span.map { row in
                    (0..<span.count).map { t in
                        Double(out.values[row * out.columns + head * width + t]) * Double(span.count)
                    }
                }
            }
        }
        return mask
    }
}
