import Support
import Testing

/// What is chosen of many combinations has every pair of values that is valid.
@Suite struct PairwiseTests {
    /// Expects that of any two factors all values meet in the chosen ones which meet in any; says how many are chosen.
    private func expectEveryPair<Combination>(
        of all: [Combination], factors: [@Sendable (Combination) -> String], atMost count: Int,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let chosen = pairwise(all, factors: factors)
        for (i, first) in factors.enumerated() {
            for second in factors[(i + 1)...] {
                for a in Set(all.map(first)) {
                    for b in Set(all.map(second)) {
                        let isPair = { (item: Combination) in first(item) == a && second(item) == b }
                        #expect(
                            all.contains(where: isPair) == chosen.contains(where: isPair),
                            "\(a) with \(b)", sourceLocation: sourceLocation)
                    }
                }
            }
        }
        let keys = { (items: [Combination]) in items.map { item in factors.map { $0(item) } } }
        #expect(
            keys(chosen) == keys(pairwise(all, factors: factors)), "another choice",
            sourceLocation: sourceLocation)
        #expect(chosen.count <= count, "\(chosen.count) of \(all.count)", sourceLocation: sourceLocation)
    }

    private static let digits: [@Sendable ([Int]) -> String] = (0..<4).map { position in { "\($0[position])" }
    }

    @Test("of three factors with two values, six of eight do") func small() {
        let all = (0..<8).map { (n: Int) -> [Int] in [n & 1, n >> 1 & 1, n >> 2, 0] }
        expectEveryPair(of: all, factors: Self.digits, atMost: 6)
    }

    @Test("not all values need go together", arguments: 0..<20 as Range<UInt64>) func constrained(
        seed: UInt64
    ) {
        let random = CounterRandom(seed, 0)
        let valid = (0..<240).filter { random.bits(at: UInt64($0)) % 3 > 0 }
        let all = valid.map { (n: Int) -> [Int] in [n % 5, n / 5 % 4, n / 20 % 4, n / 80] }
        // Twenty pairs of the largest factors are the least; greedy takes a few more.
        expectEveryPair(of: all, factors: Self.digits, atMost: 32)
    }

    @Test("nothing is chosen of nothing") func empty() {
        expectEveryPair(of: [], factors: Self.digits, atMost: 0)
    }

    @Test("every pair of model, task, technique, dropout and plan") func techniques() {
        typealias Tests = TechniqueEqualityTests
        expectEveryPair(of: Tests.combinations, factors: Tests.factors, atMost: 45)
    }

    @Test("every pair of model, task, dropout, shape of a plan, and schedule") func plans() {
        typealias Tests = PlanEqualityTests
        expectEveryPair(of: Tests.combinations, factors: Tests.factors, atMost: 30)
    }

    @Test("every pair of what is wrong, where it stands, and ranks") func badInput() {
        typealias Tests = BadInputTests
        expectEveryPair(of: Tests.combinations, factors: Tests.factors, atMost: 45)
    }
}
