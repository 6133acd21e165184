import CKernels
import Foundation
import Testing

@Suite struct RotaryTests {
    @Test(arguments: [0, 1, 5], [2, 6, 34, 64, 128]) func pairsTurnByTheAnglesOfTheirPosition(
        rows: Int, headSize: Int
    ) {
        var data = TestData(5)
        let (heads, half) = (3, headSize / 2)
        let x = data.floats(rows * heads * headSize)
        let positions = (0..<rows).map { Int32(($0 * 3 + 1) % 7) }
        let angles = (0..<7 * half).map { Double($0) * 0.37 }
        let table = (0..<7).flatMap { t in
            let row = angles[t * half..<(t + 1) * half]
            return row.map { Float(cos($0)) } + row.map { Float(sin($0)) }
        }
        func expected(_ sign: Double) -> [Double] {
            x.indices.map { i in
                let (row, j) = (i / (heads * headSize), i % headSize)
                let angle = sign * angles[Int(positions[row]) * half + j % half]
                let partner = Double(x[j < half ? i + half : i - half])
                return Double(x[i]) * cos(angle) + (j < half ? -1 : 1) * partner * sin(angle)
            }
        }
        for sign: Float in [1, -1] {
            let turned = written(x.count) {
                ck_rotate_half($0, x, table, positions, sign, rows, heads, headSize)
            }
            expectClose(turned, expected(Double(sign)), tolerance: 1e-6)
            let inPlace = written(x) { ck_rotate_half($0, $0, table, positions, sign, rows, heads, headSize) }
            #expect(inPlace == turned)
        }
    }
}
