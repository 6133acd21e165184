import CKernels
import Foundation
import Testing

/// Prints nanoseconds an element at 2048x768; measures nothing unless CK_TIMINGS is set.
@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["CK_TIMINGS"] != nil))
struct KernelTimings {
    func report(_ name: String, elements: Int, repetitions: Int = 15, _ body: () -> Void) {
        let clock = ContinuousClock()
        let fastest = (0..<repetitions).map { _ in clock.measure(body) }.min()!
        let nanoseconds = Double(fastest.components.attoseconds) * 1e-9 / Double(elements)
        print(name, String(format: "%.3f ns", nanoseconds))
    }

    @Test func printThem() {
        let (rows, columns) = (2048, 768)
        let n = rows * columns
        var data = TestData(23)
        let x = data.floats(n)
        let y = data.floats(n)
        let weight = data.floats(columns)
        var z = data.floats(n)
        var moment = [Float](repeating: 0, count: n)
        var variance = moment
        var mean = [Float](repeating: 0, count: rows)
        var rstd = mean
        var dweight = weight
        var dbias = weight
        var half = [UInt16](repeating: 0, count: n)
        let labels = (0..<rows).map { Int32($0 % columns) }

        report("add", elements: n) { ck_add(&z, x, y, n) }
        report("gelu_erf", elements: n) { ck_gelu_erf(&z, x, n) }
        report("gelu_erf_backward", elements: n) { ck_gelu_erf_backward(&z, y, x, n) }
        report("gelu_tanh", elements: n) { ck_gelu_tanh(&z, x, n) }
        report("gelu_tanh_backward", elements: n) { ck_gelu_tanh_backward(&z, y, x, n) }
        report("layer_norm", elements: n) {
            ck_layer_norm(&z, &mean, &rstd, x, weight, weight, 1e-5, rows, columns)
        }
        report("layer_norm_backward", elements: n) {
            ck_layer_norm_backward(&z, &dweight, &dbias, y, x, weight, mean, rstd, rows, columns)
        }
        report("softmax_rows", elements: n) { ck_softmax_rows(&z, x, rows, columns) }
        report("cross_entropy", elements: n) { _ = ck_cross_entropy(&z, x, labels, 1, rows, columns) }
        report("adamw", elements: n) {
            ck_adamw(&z, &moment, &variance, x, 1e-3, 0.9, 0.999, 1e-8, 0.01, 1, 3, n)
        }
        report("dropout", elements: n) { ck_dropout(&z, x, 1, 0, 0.1, n) }
        report("half_from_float", elements: n) { ck_half_from_float(&half, x, n) }
        report("float_from_half", elements: n) { ck_float_from_half(&z, half, n) }
        report("crc32c, a byte", elements: 4 * n) { _ = ck_crc32c(0, x, 4 * n) }
        for tokens in [20, 128] {
            let cells = tokens * tokens
            let heads = 100
            report("attention_softmax \(tokens)", elements: cells * heads) {
                for _ in 0..<heads { ck_attention_softmax(&z, nil, 0.1, 0, tokens, tokens) }
            }
            for h in [4, 8, 16] {
                report("narrow_nt \(tokens)x\(h), a product", elements: cells * heads * h) {
                    for _ in 0..<heads { ck_narrow_nt(&z, tokens, x, 96, y, 96, tokens, tokens, h) }
                }
                report("narrow_nn \(tokens)x\(h), a product", elements: cells * heads * h) {
                    for _ in 0..<heads { ck_narrow_nn(&z, 96, x, tokens, y, 96, tokens, tokens, h, 0) }
                }
                report("narrow_tn \(tokens)x\(h), a product", elements: cells * heads * h) {
                    for _ in 0..<heads { ck_narrow_tn(&z, 96, x, tokens, y, 96, tokens, tokens, h, 0) }
                }
            }
        }
    }
}
