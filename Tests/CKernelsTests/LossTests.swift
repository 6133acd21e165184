import CKernels
import Foundation
import Testing

@Suite struct LossTests {
    static let shapes = [
        (rows: 0, columns: 5), (1, 1), (3, 2), (4, 16), (2, 17), (3, 768), (2, 1000), (2, 32_128),
    ]

    static func softmax(_ row: ArraySlice<Double>) -> [Double] {
        let largest = row.max()!
        let exponentials = row.map { exp($0 - largest) }
        let sum = exponentials.reduce(0, +)
        return exponentials.map { $0 / sum }
    }

    static func rows(_ x: [Float], _ columns: Int) -> [ArraySlice<Double>] {
        let values = doubles(x)
        return stride(from: 0, to: values.count, by: columns).map { values[$0..<$0 + columns] }
    }

    @Test(arguments: shapes)
    func softmaxRows(rows: Int, columns: Int) {
        var data = TestData(17)
        let x = data.floats(rows * columns, in: -20...20)
        let expected = Self.rows(x, columns).flatMap(Self.softmax)
        let p = written(x.count) { ck_softmax_rows($0, x, rows, columns) }
        // Differences of logits, up to 40, are themselves off by 1e-7 of their size.
        expectClose(p, expected, tolerance: 4e-6, floor: 1e-37)
        expectClose(p, expected, tolerance: 3e-7)
        #expect(written(x) { ck_softmax_rows($0, $0, rows, columns) } == p)
    }

    @Test(arguments: shapes, [1, 1000] as [Float])
    func crossEntropy(shape: (rows: Int, columns: Int), magnitude: Float) {
        let (rows, columns) = shape
        var data = TestData(18)
        let x = data.floats(rows * columns, in: -4 * magnitude...4 * magnitude)
        let labels = (0..<rows).map { _ in Int32(data.word() % UInt64(columns)) }
        let slices = Self.rows(x, columns)
        let losses = zip(slices, labels).map { row, label -> Double in
            let largest = row.max()!
            return log(row.reduce(0) { $0 + exp($1 - largest) }) + largest - row[row.startIndex + Int(label)]
        }
        let weight: Float = 0.125
        let gradients = zip(slices, labels).flatMap { row, label in
            Self.softmax(row).enumerated().map { 0.125 * ($1 - ($0 == Int(label) ? 1 : 0)) }
        }
        let total = losses.reduce(0, +)
        var sum = 0.0
        let dlogits = written(x.count) { sum = ck_cross_entropy($0, x, labels, weight, rows, columns) }
        #expect(abs(sum - total) <= 3e-7 * (1 + total))
        expectClose(dlogits, gradients, tolerance: 3e-7 * Double(max(1, magnitude / 4)))
        #expect(ck_cross_entropy(nil, x, labels, weight, rows, columns) == sum)
        var inPlaceSum = 0.0
        let inPlace = written(x) { inPlaceSum = ck_cross_entropy($0, $0, labels, weight, rows, columns) }
        #expect(inPlace == dlogits)
        #expect(inPlaceSum == sum)
    }

    @Test func crossEntropyGradientMatchesCentralDifferences() {
        var data = TestData(19)
        let x = data.floats(3 * 18)
        let labels: [Int32] = [0, 17, 5]
        let expected = centralDifferences(doubles(x)) { x in
            (0..<3).reduce(0) { total, i in
                let row = x[i * 18..<(i + 1) * 18]
                return total + 0.5 * (log(row.reduce(0) { $0 + exp($1) }) - row[i * 18 + Int(labels[i])])
            }
        }
        expectClose(
            written(x.count) { _ = ck_cross_entropy($0, x, labels, 0.5, 3, 18) }, expected, tolerance: 3e-7)
    }

    @Test func minusInfinityHasNoProbabilityAndNotANumberShows() {
        var x = [Float](repeating: 1, count: 20)
        x[3] = -.infinity
        let p = written(20) { ck_softmax_rows($0, x, 1, 20) }
        #expect(p[3] == 0)
        expectClose([p[0]], [1 / 19.0], tolerance: 1e-7)
        x[3] = .nan
        #expect(ck_cross_entropy(nil, x, [0], 1, 1, 20).isNaN)
    }

    @Test(arguments: [1, 3, 16, 17, 768, 1000])
    func argmaxTakesTheFirstOfEquals(columns: Int) {
        var data = TestData(20)
        var x = data.floats(4 * columns).map { ($0 * 2).rounded() }  // many ties
        for c in 0..<columns { x[c] = -.infinity }
        var found = [Int32](repeating: -1, count: 4)
        ck_argmax_rows(&found, x, 4, columns)
        let expected = (0..<4).map { i in
            (1..<columns).reduce(0) { x[i * columns + $1] > x[i * columns + $0] ? $1 : $0 }
        }
        #expect(found == expected.map(Int32.init))
        ck_argmax_rows(nil, nil, 0, columns)
    }
}
