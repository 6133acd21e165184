import CKernels
import Foundation
import Testing

@Suite struct OptimizerTests {
    @Test(arguments: lengths, [0, 0.1] as [Float])
    func adamWOverTwentySteps(count: Int, weightDecay: Float) {
        var data = TestData(21)
        var p = data.floats(count)
        var m = [Float](repeating: 0, count: count)
        var v = m
        var p64 = doubles(p)
        var m64 = doubles(m)
        var v64 = doubles(v)
        let (lr, beta1, beta2, eps) = (Float(0.01), Float(0.9), Float(0.999), Float(1e-8))
        for step in 1...20 {
            let g = data.floats(count, in: -0.5...0.5)
            let scale = Float(step % 3 == 0 ? 0.25 : 1)
            p = written(p) { p in
                m = written(m) { m in
                    v = written(v) {
                        ck_adamw(
                            p, m, $0, g, lr, beta1, beta2, eps, weightDecay, scale, Int64(step), count)
                    }
                }
            }
            let (b1, b2) = (Double(beta1), Double(beta2))
            for i in 0..<count {
                let gradient = Double(scale) * Double(g[i])
                p64[i] *= 1 - Double(lr) * Double(weightDecay)
                m64[i] = b1 * m64[i] + (1 - b1) * gradient
                v64[i] = b2 * v64[i] + (1 - b2) * gradient * gradient
                let corrected = (v64[i] / (1 - pow(b2, Double(step)))).squareRoot()
                p64[i] -= Double(lr) * m64[i] / (1 - pow(b1, Double(step))) / (corrected + Double(eps))
            }
            expectClose(p, p64, tolerance: 3e-7 * Double(step), "p, step \(step)")
            expectCloseToLargest(m, m64, tolerance: 1e-6, "m, step \(step)")
            expectCloseToLargest(v, v64, tolerance: 1e-6, "v, step \(step)")
        }
    }

    @Test func zeroGradientsLeaveParametersAlone() {
        var m: [Float] = [0]
        var v: [Float] = [0]
        #expect(written([3]) { ck_adamw($0, &m, &v, [0], 0.1, 0.9, 0.999, 1e-8, 0, 1, 1, 1) } == [3])
    }
}
