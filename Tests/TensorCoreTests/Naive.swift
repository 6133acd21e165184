import Foundation
import TensorCore

/// The operations as one would write them down, in double precision.
enum Naive {
    static func exp(_ x: Double) -> Double { Foundation.exp(x) }
    static func log(_ x: Double) -> Double { Foundation.log(x) }
    static func tanh(_ x: Double) -> Double { Foundation.tanh(x) }
    static func erf(_ x: Double) -> Double { Foundation.erf(x) }
    static func sigmoid(_ x: Double) -> Double { 1 / (1 + Foundation.exp(-x)) }

    static func linear(_ x: DoubleMatrix, _ w: DoubleMatrix, _ b: DoubleMatrix?) -> DoubleMatrix {
        DoubleMatrix(x.rows, w.rows) { i, j in
            var sum = b?[0, j] ?? 0
            for c in 0..<x.columns { sum += x[i, c] * w[j, c] }
            return sum
        }
    }

    static func layerNorm(
        _ x: DoubleMatrix, _ w: DoubleMatrix, _ b: DoubleMatrix, _ epsilon: Double
    ) -> DoubleMatrix {
        var y = x
        for i in 0..<x.rows {
            let row = (0..<x.columns).map { x[i, $0] }
            let mean = row.reduce(0, +) / Double(row.count)
            let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(row.count)
            let root = (variance + epsilon).squareRoot()
            for j in row.indices { y[i, j] = (row[j] - mean) / root * w[0, j] + b[0, j] }
        }
        return y
    }

    static func rmsNorm(_ x: DoubleMatrix, _ w: DoubleMatrix, _ epsilon: Double) -> DoubleMatrix {
        var y = x
        for i in 0..<x.rows {
            var square = 0.0
            for j in 0..<x.columns { square += x[i, j] * x[i, j] / Double(x.columns) }
            for j in 0..<x.columns { y[i, j] = w[0, j] * x[i, j] / (square + epsilon).squareRoot() }
        }
        return y
    }

    /// The geometry is the tested type's, the arithmetic is not. `bias` gives a head's value at a distance, `mask`
    /// multiplies the probabilities of (sequence, head, query, key).
    static func attention(
        _ q: DoubleMatrix, _ k: DoubleMatrix, _ v: DoubleMatrix, _ shape: AttentionShape,
        bias: (Int, Int) -> Double = { _, _ in 0 }, mask: (Int, Int, Int, Int) -> Double = { _, _, _, _ in 1 }
    ) -> DoubleMatrix {
        var out = DoubleMatrix(q.rows, q.columns) { _, _ in 0 }
        let (h, group) = (shape.headSize, shape.headCount / shape.keyValueHeadCount)
        for (sequence, (queries, keys)) in zip(shape.querySpans, shape.keySpans).enumerated() {
            for head in 0..<shape.headCount {
                let (column, keyColumn) = (head * h, head / group * h)
                for i in 0..<queries.count {
                    let position = i + keys.count - queries.count
                    let visible = shape.isCausal ? position + 1 : keys.count
                    var exponentials: [Double] = []
                    for t in 0..<visible {
                        var dot = 0.0
                        for j in 0..<h {
                            dot +=
                                q[queries.lowerBound + i, column + j] * k[keys.lowerBound + t, keyColumn + j]
                        }
                        exponentials.append(exp(dot * Double(shape.scale) + bias(head, t - position)))
                    }
                    let total = exponentials.reduce(0, +)
                    for t in 0..<visible {
                        let p = exponentials[t] / total * mask(sequence, head, i, t)
                        for j in 0..<h {
                            out[queries.lowerBound + i, column + j] +=
                                p * v[keys.lowerBound + t, keyColumn + j]
                        }
                    }
                }
            }
        }
        return out
    }
}
