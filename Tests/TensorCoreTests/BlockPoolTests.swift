import Support
import TensorCore
import Testing

@Suite struct BlockPoolTests {
    @Test("large buffers keep their numbers while others come and go") func largeBuffersKeepTheirNumbers() {
        let ledger = Ledger()
        let random = CounterRandom(1)
        var held: [(tensor: Tensor, number: Float)] = []
        for index in 0..<600 {
            let bits = random.bits(at: UInt64(index))
            if !held.isEmpty, bits % 5 < 2 || held.count > 40 {
                let (tensor, number) = held.remove(at: Int(bits >> 8) % held.count)
                #expect(tensor.values.allSatisfy { $0 == number })
            } else {
                // Below and above the size from which on buffers are the pool's, of many classes.
                let columns = 40_000 + Int((bits >> 8) % 400_000)
                held.append((Tensor(rows: 1, columns: columns, ledger: ledger), Float(index)))
                held.last!.tensor.fill(Float(index))
            }
            if index % 150 == 149 { ledger.resetPeaks() }
        }
        for (tensor, number) in held { #expect(tensor.values.allSatisfy { $0 == number }) }
        let bytes = held.reduce(0) { $0 + 4 * $1.tensor.count }
        #expect(bytes > 0 && ledger.live(.activations) == bytes)
        held = []
        #expect(ledger.live(.activations) == 0)
    }
}
