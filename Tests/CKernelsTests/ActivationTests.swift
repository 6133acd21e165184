import CKernels
import Foundation
import Testing

/// An activation under test beside its definition and derivative in double precision.
struct Activation: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let forward: @Sendable (UnsafeMutablePointer<Float>, UnsafePointer<Float>, Int) -> Void
    let backward:
        @Sendable (UnsafeMutablePointer<Float>, UnsafePointer<Float>, UnsafePointer<Float>, Int) -> Void
    let value: @Sendable (Double) -> Double
    let derivative: @Sendable (Double) -> Double

    static let all = [
        Activation(
            testDescription: "relu", forward: { ck_relu($0, $1, $2) },
            backward: { ck_relu_backward($0, $1, $2, $3) },
            value: { max($0, 0) }, derivative: { $0 > 0 ? 1 : 0 }),
        Activation(
            testDescription: "gelu_erf", forward: { ck_gelu_erf($0, $1, $2) },
            backward: { ck_gelu_erf_backward($0, $1, $2, $3) },
            value: { 0.5 * $0 * erfc(-$0 / 2.0.squareRoot()) },
            derivative: {
                0.5 * erfc(-$0 / 2.0.squareRoot()) + $0 * exp(-$0 * $0 / 2) / (2 * Double.pi).squareRoot()
            }),
        Activation(
            testDescription: "gelu_tanh", forward: { ck_gelu_tanh($0, $1, $2) },
            backward: { ck_gelu_tanh_backward($0, $1, $2, $3) },
            value: { 0.5 * $0 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) },
            derivative: {
                let c = (2 / Double.pi).squareRoot()
                let t = tanh(c * ($0 + 0.044715 * $0 * $0 * $0))
                return 0.5 * (1 + t) + 0.5 * $0 * (1 - t * t) * c * (1 + 3 * 0.044715 * $0 * $0)
            }),
        Activation(
            testDescription: "silu", forward: { ck_silu($0, $1, $2) },
            backward: { ck_silu_backward($0, $1, $2, $3) },
            value: { $0 / (1 + exp(-$0)) },
            derivative: {
                let s = 1 / (1 + exp(-$0))
                return s * (1 + $0 * (1 - s))
            }),
        Activation(
            testDescription: "tanh", forward: { ck_tanh($0, $1, $2) },
            backward: { dx, dy, x, n in
                ck_tanh_backward(dx, dy, (0..<n).map { Float(tanh(Double(x[$0]))) }, n)
            },
            value: { tanh($0) }, derivative: { 1 - tanh($0) * tanh($0) }),
    ]
}

@Suite struct ActivationTests {
    /// A fine grid, large magnitudes where exponentials overflow, and zeros.
    static let arguments: [Float] =
        (-26_000...26_000).map { Float($0) * 0.0005 }
        + [-1000, -200, -104, -89, -88, -87.4, 87.4, 88, 89, 104, 200, 1000, 1e-20, -1e-20, 0, -0.0]

    @Test(arguments: Activation.all)
    func matchesDefinition(activation: Activation) {
        let x = Self.arguments
        let dy = [Float](repeating: 1, count: x.count)
        expectClose(
            written(x.count) { activation.forward($0, x, x.count) }, doubles(x).map(activation.value),
            tolerance: 1.5e-7, "forward")
        expectClose(
            written(x.count) { activation.backward($0, dy, x, x.count) },
            doubles(x).map(activation.derivative),
            tolerance: 3e-7, "backward")
    }

    @Test(arguments: Activation.all)
    func derivativeMatchesCentralDifferences(activation: Activation) {
        let x = stride(from: Float(-6.0123), to: 6, by: 0.05).map { $0 }  // keeps clear of ReLU's corner
        let dy = [Float](repeating: 1, count: x.count)
        let expected = doubles(x).map { (activation.value($0 + 1e-5) - activation.value($0 - 1e-5)) / 2e-5 }
        expectClose(written(x.count) { activation.backward($0, dy, x, x.count) }, expected, tolerance: 4e-7)
    }

    @Test(arguments: Activation.all, lengths)
    func anyLengthAndInPlace(activation: Activation, count: Int) {
        var data = TestData(8)
        let x = data.floats(count)
        let dy = data.floats(count)
        expectClose(
            written(x) { activation.forward($0, $0, count) }, doubles(x).map(activation.value),
            tolerance: 1.5e-7)
        let expected = zip(dy, x).map { Double($0) * activation.derivative(Double($1)) }
        expectClose(written(count) { activation.backward($0, dy, x, count) }, expected, tolerance: 1e-6)
        expectClose(written(dy) { activation.backward($0, $0, x, count) }, expected, tolerance: 1e-6)
    }

    @Test func tanhKeepsRelativePrecision() {
        let x = stride(from: Float(1e-6), to: 10, by: 0.0007).map { $0 }
        let y = written(x.count) { ck_tanh($0, x, x.count) }
        let worst = zip(x, y).map { abs(Double($1) / tanh(Double($0)) - 1) }.max()!
        #expect(worst < 3e-7)
    }

    @Test(arguments: Activation.all)
    func notANumberStaysVisible(activation: Activation) {
        let x = [Float](repeating: .nan, count: 19)
        let y = written([Float](repeating: 0, count: 19)) { activation.forward($0, x, 19) }
        #expect(y.allSatisfy { $0.isNaN })
    }
}
