import Support
import TensorCore
import Testing

/// A matrix in a 16-bit format, and the numbers that it stands for in double precision, decoded here.
struct HalfMatrix {
    let format: WeightFormat
    let numbers: DoubleMatrix

    /// Random numbers, perturbed so that none is a round one in the format.
    init(_ format: WeightFormat, _ rows: Int, _ columns: Int, seed: UInt64) {
        let random = CounterRandom(seed)
        self.init(
            format, rows, columns,
            // Magnitudes from 2^-6 to 1, either sign, all bits of the fraction.
            (0..<rows * columns).map { i in
                let bits = UInt16(truncatingIfNeeded: random.bits(at: UInt64(i)))
                let (sign, low) = (bits & 0x8000, bits & 0x07FF)
                return format == .float16 ? sign | 0x2400 + low * 3 % 0x1800 : sign | 0x3C80 + low % 0x0300
            })
    }

    private let words: [UInt16]

    init(_ format: WeightFormat, _ rows: Int, _ columns: Int, _ words: [UInt16]) {
        self.format = format
        self.words = words
        numbers = DoubleMatrix(rows, columns) { Self.value(words[$0 * columns + $1], format) }
    }

    static func value(_ word: UInt16, _ format: WeightFormat) -> Double {
        format == .float16
            ? Double(Float16(bitPattern: word)) : Double(Float(bitPattern: UInt32(word) << 16))
    }

    func weight(_ ledger: Ledger) -> Weight {
        .stored(
            StoredMatrix(
                repeating: words.withUnsafeBytes { Array($0) }, format, rows: numbers.rows,
                columns: numbers.columns, ledger: ledger))
    }
}

@Suite struct WeightTests {
    private static let formats: [WeightFormat] = [.float16, .bfloat16]
    private let ledger = Ledger()

    @Test("every pattern expands to its number", arguments: formats)
    func everyPattern(format: WeightFormat) {
        let words = Array(UInt16.min...UInt16.max)
        let weight = HalfMatrix(format, 256, 256, words).weight(ledger)
        let values = weight.values
        #expect(ledger.peak(.weights) == 2 * 65_536, "values are no tensor")
        #expect(weight.tensor.values.map(\.bitPattern) == values.map(\.bitPattern))
        var wrong: [UInt16] = []
        for (word, value) in zip(words, values) {
            let expected = HalfMatrix.value(word, format)
            let good =
                expected.isNaN ? value.isNaN : Double(value) == expected && value.sign == expected.sign
            if !good { wrong.append(word) }
        }
        #expect(wrong.isEmpty)
    }

    @Test("the nearest number is stored, ties to even", arguments: formats)
    func encoding(format: WeightFormat) {
        let values = DoubleMatrix.random(1, 1000, seed: 8).values.map { Float($0) }
        let words = format.encoded(values).withUnsafeBytes { Array($0.bindMemory(to: UInt16.self)) }
        #expect(
            words
                == values.map {
                    guard format == .bfloat16 else { return Float16($0).bitPattern }
                    return UInt16(($0.bitPattern + 0x7FFF + ($0.bitPattern >> 16 & 1)) >> 16)
                })
    }

    @Test(
        "gradients of a product with a frozen matrix", arguments: formats,
        [(0, 5, 3), (1, 1, 1), (4, 7, 5), (6, 16, 1), (1, 16, 24)])
    func gradients(format: WeightFormat, shape: (rows: Int, inputs: Int, outputs: Int)) {
        let w = HalfMatrix(format, shape.outputs, shape.inputs, seed: 2)
        let weight = w.weight(ledger)
        let inputs = [(shape.rows, shape.inputs), (1, shape.outputs)].enumerated().map {
            DoubleMatrix.random($1.0, $1.1, seed: UInt64($0))
        }
        checkGradients(inputs) {
            linear($0[0].spread(over: shape.inputs + 3, offset: 2), weight: weight, bias: $0[1])
        } naive: {
            Naive.linear($0[0], w.numbers, $0[1])
        }
    }

    /// Matrices of several panels, whose last is short.
    @Test("products of several panels", arguments: formats, [(3, 3001, 300), (2, 700, 1200)])
    func severalPanels(format: WeightFormat, shape: (rows: Int, inputs: Int, outputs: Int)) {
        let w = HalfMatrix(format, shape.outputs, shape.inputs, seed: 2)
        let x = DoubleMatrix.random(shape.rows, shape.inputs, seed: 3)
        let dy = DoubleMatrix.random(shape.rows, shape.outputs, seed: 4)
        let leaf = x.tensor(ledger).asLeaf
        let y = linear(leaf, weight: w.weight(ledger))
        backward(from: [y], seeds: [dy.tensor(ledger)])
        var dx = DoubleMatrix(shape.rows, shape.inputs) { _, _ in 0 }
        for i in 0..<dy.rows {
            for j in 0..<dy.columns {
                for c in 0..<dx.columns { dx[i, c] += dy[i, j] * w.numbers[j, c] }
            }
        }
        func compare(_ found: Tensor, _ expected: DoubleMatrix, _ what: String) {
            let scale = expected.values.reduce(0) { max($0, abs($1)) }
            let worst = zip(found.values, expected.values).map { abs(Double($0) - $1) }.max()!
            #expect(worst <= 2e-6 * scale, "\(what): \(worst) of \(scale)")
        }
        compare(y, Naive.linear(x, w.numbers, nil), "x Wᵀ")
        compare(leaf.node!.gradient!, dx, "dy W")
        // Not more than a float32 copy would differ from it.
        let copy = linear(x.tensor(ledger), weight: w.weight(ledger).tensor)
        compare(y, DoubleMatrix(y.rows, y.columns) { Double(copy.values[$0 * y.columns + $1]) }, "copy")
    }

    @Test("rows by number, of one table and of several", arguments: formats)
    func rows(format: WeightFormat) {
        let (a, b) = (HalfMatrix(format, 5, 33, seed: 1), HalfMatrix(format, 3, 33, seed: 2))
        let (ids, others): ([Int32], [Int32]) = ([4, 0, 4, 2], [1, 1, 2, 0])
        #expect(
            embedding([(a.weight(ledger), ids)]).values
                == ids.flatMap { id in (0..<33).map { Float(a.numbers[Int(id), $0]) } })
        // A trained table beside a frozen one: the gradient goes to the one that wants it.
        let trained = b.numbers.tensor(ledger).asLeaf
        let sum = embedding([(a.weight(ledger), ids), (.float32(trained), others)])
        let expected = DoubleMatrix(4, 33) { a.numbers[Int(ids[$0]), $1] + b.numbers[Int(others[$0]), $1] }
        #expect(sum.values == expected.values.map { Float($0) })
        backward(from: [sum], seeds: [DoubleMatrix(4, 33) { i, _ in Double(i + 1) }.tensor(ledger)])
        let sums = (0..<3).map { trained.node!.gradient!.values[$0 * 33] }
        #expect(sums == [4, 3, 3])
        #expect(embedding([(a.weight(ledger), [])]).rows == 0)
    }

    @Test("panels give every row once, in order") func panels() {
        let w = HalfMatrix(.bfloat16, 300, 3001, seed: 5)
        var (seen, ranges): ([Float], [Range<Int>]) = ([], [])
        w.weight(ledger).forEachPanel { rows, values in
            ranges.append(rows)
            seen += UnsafeBufferPointer(start: values, count: rows.count * 3001)
        }
        #expect(ranges.count > 1 && ranges.flatMap { Array($0) } == Array(0..<300))
        #expect(seen == w.numbers.values.map { Float($0) })
    }

    /// Keeps words alive and does not move them.
    private final class Words {
        let base = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 8)
        deinit { base.deallocate() }
    }

    @Test("the ledger counts stored bytes, of views and of copies, and forgets panels")
    func bytesOnTheLedger() {
        let words = Words()
        for (i, byte) in WeightFormat.bfloat16.encoded((0..<15).map { Float($0) }).enumerated() {
            words.base[i] = byte
            words.base[31 + i] = byte
        }
        func matrix(at offset: Int) -> Weight {
            .stored(
                StoredMatrix(
                    borrowing: words.base.baseAddress! + offset, .bfloat16, rows: 5, columns: 3, owner: words,
                    ledger: ledger))
        }
        do {
            let view = matrix(at: 0)
            #expect(ledger.live(.weights) == 30)
            let unaligned = matrix(at: 31)
            // A storage is of floats.
            #expect(ledger.live(.weights) == 30 + 32)
            words.base[2] = 0
            words.base[3] = 0
            #expect(view.values[1] == 0, "a view sees what changes")
            #expect(unaligned.values == (0..<15).map { Float($0) })
            let copy = view.copy(ledger: ledger)
            words.base[4] = 0
            words.base[5] = 0
            #expect(copy.values[2] == 2 && copy.format == .bfloat16, "a copy does not")
            let x = Tensor([1, 2, 3], rows: 1, columns: 3, ledger: ledger)
            let y = linear(x, weight: view)
            #expect(ledger.live(.activations) == 4 * (3 + 5), "\(y.values)")
            #expect(ledger.live(.weights) == 30 + 32 + 32)
        }
        #expect(ledger.liveBytes.allSatisfy { $0 == 0 })
    }

    @Test("a frozen matrix records nothing, and is no activation that backward keeps")
    func nothingIsRecorded() {
        let weight = HalfMatrix(.float16, 4, 3, seed: 1).weight(ledger)
        let x = DoubleMatrix.random(2, 3, seed: 1).tensor(ledger)
        #expect(linear(x, weight: weight).node == nil && ledger.recordedNodeCount == 0)
        #expect(linear(x.asLeaf, weight: weight).node!.savedBytes() == 0)
    }
}
