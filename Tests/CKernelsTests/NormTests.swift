import CKernels
import Testing

/// LayerNorm and RMSNorm in double precision, and their gradients by the textbook formulas.
private struct NaiveNorm {
    let columns: Int
    let weight: [Double]
    let bias: [Double]?  // nil: RMSNorm
    let eps: Double

    func statistics(_ row: ArraySlice<Double>) -> (mean: Double, rstd: Double) {
        let mean = bias == nil ? 0 : row.reduce(0, +) / Double(columns)
        let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(columns)
        return (mean, 1 / (variance + eps).squareRoot())
    }

    func rows(_ x: [Double]) -> [ArraySlice<Double>] {
        columns == 0 ? [] : stride(from: 0, to: x.count, by: columns).map { x[$0..<$0 + columns] }
    }

    func forward(_ x: [Double]) -> [Double] {
        rows(x).flatMap { row in
            let (mean, rstd) = statistics(row)
            return row.enumerated().map { ($1 - mean) * rstd * weight[$0] + (bias?[$0] ?? 0) }
        }
    }

    func backward(_ dy: [Double], _ x: [Double]) -> (dx: [Double], dweight: [Double], dbias: [Double]) {
        var dx: [Double] = []
        var dweight = weight.map { _ in 0.0 }
        var dbias = weight.map { _ in 0.0 }
        for (row, gradient) in zip(rows(x), rows(dy)) {
            let (mean, rstd) = statistics(row)
            let hat = row.map { ($0 - mean) * rstd }
            let g = zip(gradient, weight).map { $0 * $1 }
            let average = bias == nil ? 0 : g.reduce(0, +) / Double(columns)
            let projection = dot(g, hat) / Double(columns)
            dx += zip(g, hat).map { rstd * ($0 - average - $1 * projection) }
            for (c, value) in gradient.enumerated() {
                dweight[c] += value * hat[c]
                dbias[c] += value
            }
        }
        return (dx, dweight, dbias)
    }
}

@Suite struct NormTests {
    static let shapes = [(0, 5), (1, 1), (3, 3), (4, 16), (2, 17), (5, 96), (3, 768), (2, 1000)]

    @Test(arguments: shapes)
    func layerNormForward(rows: Int, columns: Int) {
        var data = TestData(9)
        let x = data.floats(rows * columns, in: 2...6)  // an offset that E[x^2] - mean^2 would suffer from
        let weight = data.floats(columns)
        let bias = data.floats(columns)
        let naive = NaiveNorm(columns: columns, weight: doubles(weight), bias: doubles(bias), eps: 1e-3)
        let expected = naive.forward(doubles(x))
        let tolerance = columns < 4 ? 2e-5 : 3e-6
        var mean = [Float](repeating: .nan, count: rows)
        var rstd = mean
        let out = written(x.count) { ck_layer_norm($0, &mean, &rstd, x, weight, bias, 1e-3, rows, columns) }
        expectClose(out, expected, tolerance: tolerance)
        let statistics = naive.rows(doubles(x)).map(naive.statistics)
        expectClose(mean, statistics.map(\.mean), tolerance: 3e-7)
        expectClose(rstd, statistics.map(\.rstd), tolerance: 2e-6)
        #expect(written(x) { ck_layer_norm($0, nil, nil, $0, weight, bias, 1e-3, rows, columns) } == out)
    }

    @Test(arguments: shapes)
    func layerNormBackward(rows: Int, columns: Int) {
        var data = TestData(10)
        let x = data.floats(rows * columns)
        let dy = data.floats(rows * columns)
        let weight = data.floats(columns)
        let before = data.floats(columns)
        let naive = NaiveNorm(
            columns: columns, weight: doubles(weight), bias: [Double](repeating: 0, count: columns), eps: 0.1)
        let statistics = naive.rows(doubles(x)).map(naive.statistics)
        let mean = statistics.map { Float($0.mean) }
        let rstd = statistics.map { Float($0.rstd) }
        let expected = naive.backward(doubles(dy), doubles(x))

        var dweight: [Float] = []
        var dbias: [Float] = []
        let dx = written(x.count) { dx in
            dweight = written(before) { dweight in
                dbias = written(before) {
                    ck_layer_norm_backward(dx, dweight, $0, dy, x, weight, mean, rstd, rows, columns)
                }
            }
        }
        expectClose(dx, expected.dx, tolerance: 2e-6, "dx")
        expectClose(
            dweight, zip(before, expected.dweight).map { Double($0) + $1 }, tolerance: 2e-6, "dweight")
        expectClose(dbias, zip(before, expected.dbias).map { Double($0) + $1 }, tolerance: 2e-6, "dbias")

        // Each output alone, dx in place of dy.
        #expect(
            written(dy) { ck_layer_norm_backward($0, nil, nil, $0, x, weight, mean, rstd, rows, columns) }
                == dx)
        #expect(
            written(before) { ck_layer_norm_backward(nil, $0, nil, dy, x, weight, mean, rstd, rows, columns) }
                == dweight)
        #expect(
            written(before) { ck_layer_norm_backward(nil, nil, $0, dy, x, weight, mean, rstd, rows, columns) }
                == dbias)
        let inPlace = written(dy) { dx in
            #expect(
                written(before) {
                    ck_layer_norm_backward(dx, $0, nil, dx, x, weight, mean, rstd, rows, columns)
                }
                    == dweight)
        }
        #expect(inPlace == dx)
    }

    @Test(arguments: shapes)
    func rmsNorm(rows: Int, columns: Int) {
        var data = TestData(11)
        let x = data.floats(rows * columns)
        let dy = data.floats(rows * columns)
        let weight = data.floats(columns)
        let before = data.floats(columns)
        let naive = NaiveNorm(columns: columns, weight: doubles(weight), bias: nil, eps: 1e-6)
        var rstd = [Float](repeating: .nan, count: rows)
        let out = written(x.count) { ck_rms_norm($0, &rstd, x, weight, 1e-6, rows, columns) }
        expectClose(out, naive.forward(doubles(x)), tolerance: 1e-6)
        expectClose(rstd, naive.rows(doubles(x)).map { naive.statistics($0).rstd }, tolerance: 1e-6)
        #expect(written(x) { ck_rms_norm($0, nil, $0, weight, 1e-6, rows, columns) } == out)

        let expected = naive.backward(doubles(dy), doubles(x))
        var dweight: [Float] = []
        let dx = written(x.count) { dx in
            dweight = written(before) { ck_rms_norm_backward(dx, $0, dy, x, weight, rstd, rows, columns) }
        }
        expectClose(dx, expected.dx, tolerance: 3e-6, "dx")
        expectClose(
            dweight, zip(before, expected.dweight).map { Double($0) + $1 }, tolerance: 2e-6, "dweight")
        #expect(written(dy) { ck_rms_norm_backward($0, nil, $0, x, weight, rstd, rows, columns) } == dx)
        #expect(
            written(before) { ck_rms_norm_backward(nil, $0, dy, x, weight, rstd, rows, columns) } == dweight)
    }

    @Test(arguments: [true, false])
    func gradientsMatchCentralDifferences(layerNorm: Bool) {
        let (rows, columns) = (3, 19)
        var data = TestData(12)
        let x = data.floats(rows * columns)
        let dy = data.floats(rows * columns)
        let weight = data.floats(columns)
        let zeros = [Double](repeating: 0, count: columns)
        func loss(_ x: [Double], _ weight: [Double], _ bias: [Double]) -> Double {
            dot(
                NaiveNorm(columns: columns, weight: weight, bias: layerNorm ? bias : nil, eps: 1e-5).forward(
                    x),
                doubles(dy))
        }
        let naive = NaiveNorm(
            columns: columns, weight: doubles(weight), bias: layerNorm ? zeros : nil, eps: 1e-5)
        let statistics = naive.rows(doubles(x)).map(naive.statistics)
        let mean = statistics.map { Float($0.mean) }
        let rstd = statistics.map { Float($0.rstd) }
        var dweight = [Float](repeating: 0, count: columns)
        var dbias = dweight
        let dx = written(x.count) {
            if layerNorm {
                ck_layer_norm_backward($0, &dweight, &dbias, dy, x, weight, mean, rstd, rows, columns)
            } else {
                ck_rms_norm_backward($0, &dweight, dy, x, weight, rstd, rows, columns)
            }
        }
        expectClose(
            dx, centralDifferences(doubles(x)) { loss($0, doubles(weight), zeros) }, tolerance: 2e-6, "dx")
        expectClose(
            dweight, centralDifferences(doubles(weight)) { loss(doubles(x), $0, zeros) }, tolerance: 2e-6,
            "dweight")
        if layerNorm {
            expectClose(
                dbias, centralDifferences(zeros) { loss(doubles(x), doubles(weight), $0) }, tolerance: 2e-6,
                "dbias")
        }
    }
}
