import Foundation
import TensorCore
import Testing

@Suite struct RotaryTests {
    private static let frequencies: [Float] = [1, 0.3, 0.05, 0.001, 2]

    /// Pairs as complex numbers, turned by e^(i t ω).
    private func naive(_ x: DoubleMatrix, _ positions: [Int32], _ frequencies: [Float]) -> DoubleMatrix {
        let half = frequencies.count
        return DoubleMatrix(x.rows, x.columns) { row, column in
            let (head, j) = (column / (2 * half), column % (2 * half))
            let p = j % half
            let angle = Double(positions[row]) * Double(frequencies[p])
            let (re, im) = (x[row, head * 2 * half + p], x[row, head * 2 * half + p + half])
            return j < half ? re * cos(angle) - im * sin(angle) : re * sin(angle) + im * cos(angle)
        }
    }

    @Test(
        "every pair of every head turns by its position's angle, and gradients turn back",
        arguments: [1, 2, 5], [1, 3])
    func rotation(pairs: Int, heads: Int) {
        let positions: [Int32] = [0, 1, 2, 0, 7, 63, 3]
        let frequencies = Array(Self.frequencies.prefix(pairs))
        checkGradients([.random(positions.count, heads * 2 * pairs, seed: 1)]) { inputs in
            let table = RotaryTable(frequencies: frequencies, positionCount: 64, ledger: inputs[0].ledger)
            return rotate(inputs[0], positions: positions, table)
        } naive: {
            naive($0[0], positions, frequencies)
        }
    }

    @Test("no rows") func noRows() {
        checkGradients([.random(0, 4, seed: 1)]) { inputs in
            let table = RotaryTable(frequencies: [1, 2], positionCount: 1, ledger: inputs[0].ledger)
            return rotate(inputs[0], positions: [], table)
        } naive: {
            $0[0]
        }
    }

    @Test("far positions keep their angle") func farPositions() {
        let ledger = Ledger()
        let table = RotaryTable(frequencies: [1], positionCount: 131_072, ledger: ledger)
        let turned = rotate(
            Tensor([1, 0], rows: 1, columns: 2, ledger: ledger), positions: [131_071], table)
        #expect(abs(Double(turned.values[0]) - cos(131_071)) < 1e-6)
        #expect(abs(Double(turned.values[1]) - sin(131_071)) < 1e-6)
    }
}
