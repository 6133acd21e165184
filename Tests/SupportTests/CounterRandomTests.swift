import Support
import Testing

@Suite struct CounterRandomTests {
    @Test func drawsDependOnKeyAndIndexAlone() {
        let a = CounterRandom(1, 2)
        #expect(a.bits(at: 5) == CounterRandom(1, 2).bits(at: 5))
        #expect(a.bits(at: 5) != a.bits(at: 6))
        #expect(a.bits(at: 5) != CounterRandom(2, 1).bits(at: 5))
    }

    @Test func uniformsFillTheUnitInterval() {
        let random = CounterRandom(seed: 7, name: "x")
        let draws = (0..<20_000).map { random.uniform(at: $0) }
        #expect(draws.allSatisfy { $0 >= 0 && $0 < 1 })
        let mean = draws.reduce(0, +) / 20_000
        #expect(abs(mean - 0.5) < 0.01)
        let variance = draws.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 20_000
        #expect(abs(variance - 1.0 / 12) < 0.003)
    }

    @Test func permutationsAreFairPermutations() {
        let order = CounterRandom(3).permutation(count: 100)
        #expect(order.sorted() == Array(0..<100))
        #expect(order != Array(0..<100))
        // Each of the six orders of three comes up about as often as the others.
        var counts: [[Int]: Int] = [:]
        for seed in 0..<6000 { counts[CounterRandom(UInt64(seed)).permutation(count: 3), default: 0] += 1 }
        #expect(counts.count == 6)
        #expect(counts.values.allSatisfy { abs($0 - 1000) < 150 })
    }
}
