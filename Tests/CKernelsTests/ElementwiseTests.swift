import CKernels
import Testing

@Suite struct ElementwiseTests {
    @Test(arguments: lengths)
    func arithmetic(count: Int) {
        var data = TestData(1)
        let a = data.floats(count)
        let b = data.floats(count)
        #expect(written(count) { ck_fill($0, 2.5, count) } == [Float](repeating: 2.5, count: count))
        #expect(written(count) { ck_add($0, a, b, count) } == zip(a, b).map { $0 + $1 })
        #expect(written(count) { ck_multiply($0, a, b, count) } == zip(a, b).map { $0 * $1 })
        #expect(written(count) { ck_scale($0, a, -1.5, count) } == a.map { $0 * -1.5 })
        expectClose(
            written(a) { ck_axpy($0, 0.3, b, count) },
            zip(a, b).map { Double($0) + Double(Float(0.3)) * Double($1) }, tolerance: 2e-7)
        let g = Double(Float(0.7))
        expectClose(
            written(count) { ck_mix($0, 0.7, a, b, count) },
            zip(a, b).map { g * Double($0) + (1 - g) * Double($1) }, tolerance: 2e-7)
    }

    @Test(arguments: lengths)
    func outputMayBeAnInput(count: Int) {
        var data = TestData(2)
        let a = data.floats(count)
        let b = data.floats(count)
        #expect(written(a) { ck_add($0, $0, b, count) } == zip(a, b).map { $0 + $1 })
        #expect(written(b) { ck_add($0, a, $0, count) } == zip(a, b).map { $0 + $1 })
        #expect(written(a) { ck_add($0, $0, $0, count) } == a.map { $0 + $0 })
        #expect(written(a) { ck_multiply($0, $0, b, count) } == zip(a, b).map { $0 * $1 })
        #expect(written(a) { ck_scale($0, $0, 3, count) } == a.map { $0 * 3 })
        #expect(
            written(b) { ck_mix($0, 0.25, a, $0, count) } == written(count) { ck_mix($0, 0.25, a, b, count) })
    }

    @Test(arguments: [0, 1, 3, 5], [0, 1, 17, 768])
    func biasAndCopiedRows(rows: Int, columns: Int) {
        var data = TestData(3)
        let x = data.floats(rows * columns)
        let bias = data.floats(columns)
        let sums = x.indices.map { x[$0] + bias[$0 % columns] }
        #expect(written(x) { ck_add_bias($0, bias, rows, columns) } == sums)

        // Rows of a wider matrix into rows of a matrix wider still, whose gaps stay.
        let wide = data.floats(rows * (columns + 2))
        let copied = written([Float](repeating: 7, count: rows * (columns + 5))) {
            ck_copy_rows($0, columns + 5, wide, columns + 2, rows, columns)
        }
        for i in 0..<rows {
            for c in 0..<columns + 5 {
                #expect(copied[i * (columns + 5) + c] == (c < columns ? wide[i * (columns + 2) + c] : 7))
            }
        }
    }
}
