import CKernels
import Testing

@Suite struct NarrowProductTests {
    /// A matrix of integers, `columns` used columns in rows 3 floats wider; the gap is NaN, which must not be read.
    static func matrix(_ data: inout TestData, _ rows: Int, _ columns: Int) -> [Float] {
        (0..<rows).flatMap { _ in data.integers(columns) + [.nan, .nan, .nan] }
    }

    /// Runs one product into a C of m x n with gaps of 2 and compares it with the sums of `term` over `depth`.
    func check(
        _ what: String, m: Int, n: Int, depth: Int, beta: Float, from before: [Float],
        term: (_ i: Int, _ j: Int, _ l: Int) -> Double, run: (UnsafeMutablePointer<Float>, Int) -> Void
    ) {
        let stride = n + 2
        var initial = [Float](repeating: 4.5, count: m * stride)
        var expected = doubles(initial)
        for i in 0..<m {
            for j in 0..<n {
                initial[i * stride + j] = beta == 0 ? .nan : before[i * n + j]
                expected[i * stride + j] = (0..<depth).reduce(beta == 0 ? 0 : Double(before[i * n + j])) {
                    $0 + term(i, j, $1)
                }
            }
        }
        #expect(doubles(written(initial) { run($0, stride) }) == expected, "\(what)")
    }

    @Test(arguments: 1...16)
    func products(h: Int) {
        var data = TestData(16)
        let sizes = [0, 1, 3, 5, 8, 17, 130, 300]
        let a = Self.matrix(&data, 300, 300)
        let narrowM = Self.matrix(&data, 300, h)
        let narrowN = Self.matrix(&data, 300, h)
        let before = data.integers(300 * 300)
        for m in sizes {
            for n in sizes where m * n < 40_000 {
                check("nt \(m)x\(n)", m: m, n: n, depth: h, beta: 0, from: before) { i, j, k in
                    Double(narrowM[i * (h + 3) + k]) * Double(narrowN[j * (h + 3) + k])
                } run: {
                    ck_narrow_nt($0, $1, narrowM, h + 3, narrowN, h + 3, m, n, h)
                }
                for beta in [Float(0), 1] {
                    check("nn \(m)x\(n)", m: m, n: h, depth: n, beta: beta, from: before) { i, k, j in
                        Double(a[i * 303 + j]) * Double(narrowN[j * (h + 3) + k])
                    } run: {
                        ck_narrow_nn($0, $1, a, 303, narrowN, h + 3, m, n, h, beta)
                    }
                    check("tn \(m)x\(n)", m: n, n: h, depth: m, beta: beta, from: before) { j, k, i in
                        Double(a[i * 303 + j]) * Double(narrowM[i * (h + 3) + k])
                    } run: {
                        ck_narrow_tn($0, $1, a, 303, narrowM, h + 3, m, n, h, beta)
                    }
                }
            }
        }
    }
}
