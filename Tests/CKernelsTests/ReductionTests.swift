import CKernels
import Testing

@Suite struct ReductionTests {
    @Test(arguments: [0, 1, 3, 4, 9], [0, 1, 17, 768])
    func columnSumsAccumulate(rows: Int, columns: Int) {
        var data = TestData(5)
        let x = data.floats(rows * columns)
        let before = data.floats(columns)
        let expected = (0..<columns).map { c in
            (0..<rows).reduce(Double(before[c])) { $0 + Double(x[$1 * columns + c]) }
        }
        expectClose(written(before) { ck_column_sums($0, x, rows, columns) }, expected, tolerance: 1e-6)
    }

    @Test(arguments: lengths)
    func dotProducts(count: Int) {
        var data = TestData(6)
        let a = data.floats(count)
        let b = data.floats(count)
        let g = data.floats(count)
        let squares = dot(doubles(a), doubles(a))
        let difference = zip(zip(a, b), g).reduce(0.0) {
            $0 + (Double($1.0.0) - Double($1.0.1)) * Double($1.1)
        }
        #expect(abs(ck_sum_squares(a, count) - squares) <= 1e-11 * (1 + squares))
        #expect(abs(ck_dot_difference(a, b, g, count) - difference) <= 1e-11 * (1 + abs(difference)))
    }

    @Test func squaresAccumulateInDouble() {
        // In float the ones would vanish beside 2^30.
        var a = [Float](repeating: 1, count: 1000)
        a[0] = 0x1p15
        #expect(ck_sum_squares(a, 1000) == 0x1p30 + 999)
    }

    @Test(arguments: [0, 1, 3], [0, 1, 17, 768])
    func importanceIsExact(rows: Int, columns: Int) {
        var data = TestData(7)
        var w = data.floats(rows * columns, in: -2...2)
        // Just below the smallest magnitude that counts.
        if let last = w.indices.last { w[last] = -0x1.fffffep-25 }
        let scores = w.map { Int64((Double(abs($0)) * 16_777_216).rounded(.down)) }
        var byRow = [Int64](repeating: 5, count: rows)
        var byColumn = [Int64](repeating: -3, count: columns)
        ck_importance_rows(&byRow, w, rows, columns)
        ck_importance_columns(&byColumn, w, rows, columns)
        #expect(byRow == (0..<rows).map { i in (0..<columns).reduce(5) { $0 + scores[i * columns + $1] } })
        #expect(
            byColumn == (0..<columns).map { c in (0..<rows).reduce(-3) { $0 + scores[$1 * columns + c] } })
    }
}
