import CKernels
import Foundation
import Testing

@Suite struct AttentionSoftmaxTests {
    struct Case: Sendable, CustomTestStringConvertible {
        let nq: Int, nk: Int
        let causal: Bool, biased: Bool
        var testDescription: String { "\(nq)x\(nk)\(causal ? " causal" : "")\(biased ? " biased" : "")" }
    }

    static let cases = [
        (0, 5), (1, 1), (3, 3), (5, 5), (1, 17), (3, 20), (17, 17), (33, 64), (1, 130), (130, 130),
    ]
    .flatMap { nq, nk in
        [(false, false), (false, true), (true, false), (true, true)].map {
            Case(nq: nq, nk: nk, causal: $0, biased: $1)
        }
    }

    /// bias[t - p + nk - 1] is the bias at distance t - p.
    static func naive(_ scores: [Double], _ bias: [Double]?, scale: Double, _ shape: Case) -> [Double] {
        (0..<shape.nq).flatMap { q -> [Double] in
            let position = q + shape.nk - shape.nq
            let shifted = (0..<shape.nk).map { t -> Double in
                if shape.causal && t > position { return -.infinity }
                return scale * scores[q * shape.nk + t] + (bias?[t - position + shape.nk - 1] ?? 0)
            }
            let largest = shifted.max()!
            let exponentials = shifted.map { exp($0 - largest) }
            let sum = exponentials.reduce(0, +)
            return exponentials.map { $0 / sum }
        }
    }

    @Test(arguments: cases, [1, 300] as [Float])
    func forward(shape: Case, magnitude: Float) {
        var data = TestData(13)
        let scores = data.floats(shape.nq * shape.nk, in: -5 * magnitude...5 * magnitude)
        let bias = data.floats(2 * shape.nk - 1)
        let p = written(scores) { scores in
            bias.withUnsafeBufferPointer {
                ck_attention_softmax(
                    scores, shape.biased ? $0.baseAddress! + shape.nk - 1 : nil, 0.3, shape.causal ? 1 : 0,
                    shape.nq,
                    shape.nk)
            }
        }
        let expected = Self.naive(
            doubles(scores), shape.biased ? doubles(bias) : nil, scale: Double(Float(0.3)), shape)
        // Scores lie at most 3 * magnitude + 8 apart; a difference d in float is off by about 1e-7 d, and so is its
        // exponential, relatively. Exponentials below the smallest normal number are 0.
        let spread = Double(3 * magnitude + 8)
        expectClose(p, expected, tolerance: 3e-7 + 1.2e-7 * spread, floor: 1e-33)
        if magnitude == 1 { expectClose(p, expected, tolerance: 5e-7) }
        for q in 0..<shape.nq {
            #expect(abs(p[q * shape.nk..<(q + 1) * shape.nk].reduce(0) { $0 + Double($1) } - 1) < 1e-6)
        }
    }

    @Test(arguments: cases)
    func backward(shape: Case) {
        var data = TestData(14)
        let scores = data.floats(shape.nq * shape.nk)
        let dp = data.floats(shape.nq * shape.nk)
        let before = data.floats(2 * shape.nk - 1)
        let p = Self.naive(doubles(scores), nil, scale: 1, shape)
        var ds: [Double] = []
        var dbias = doubles(before)
        for q in 0..<shape.nq {
            let range = q * shape.nk..<(q + 1) * shape.nk
            let gradient = doubles(Array(dp[range]))
            let mean = dot(Array(p[range]), gradient)
            for t in 0..<shape.nk {
                ds.append(p[range.lowerBound + t] * (gradient[t] - mean))
                dbias[t - (q + shape.nk - shape.nq) + shape.nk - 1] += ds.last!
            }
        }
        var written1: [Float] = []
        let bias = written(before) { bias in
            written1 = written(dp) {
                ck_attention_softmax_backward(
                    $0, p.map(Float.init), shape.biased ? bias + shape.nk - 1 : nil, 0.7, shape.nq, shape.nk)
            }
        }
        expectClose(written1, ds.map { Double(Float(0.7)) * $0 }, tolerance: 1e-6)
        expectClose(bias, shape.biased ? dbias : doubles(before), tolerance: 2e-6)
    }

    @Test(arguments: cases.filter { $0.nk <= 20 })
    func gradientsMatchCentralDifferences(shape: Case) {
        var data = TestData(15)
        let scores = doubles(data.floats(shape.nq * shape.nk))
        let bias = doubles(data.floats(2 * shape.nk - 1))
        let dp = data.floats(shape.nq * shape.nk)
        let scale = Double(Float(0.4))
        func loss(_ scores: [Double], _ bias: [Double]) -> Double {
            dot(Self.naive(scores, bias, scale: scale, shape), doubles(dp))
        }
        let p = Self.naive(scores, bias, scale: scale, shape).map(Float.init)
        var dbias = [Float](repeating: 0, count: bias.count)
        let dscores = written(dp) { dp in
            dbias.withUnsafeMutableBufferPointer {
                ck_attention_softmax_backward(dp, p, $0.baseAddress! + shape.nk - 1, 0.4, shape.nq, shape.nk)
            }
        }
        expectClose(dscores, centralDifferences(scores) { loss($0, bias) }, tolerance: 1e-6)
        expectClose(dbias, centralDifferences(bias) { loss(scores, $0) }, tolerance: 2e-6)
    }
}
