import Foundation

/// Whether tests of many combinations run all of them: `scripts/test-all-combinations` sets PAC_MPI_FULL.
let runsAllCombinations = ProcessInfo.processInfo.environment["PAC_MPI_FULL"] == "1"

/// The combinations that a test runs: all, or few in which every two factors meet in each pair of values that is valid at all.
///
/// - Parameters: `all` are the valid combinations; each factor tells the value that it has in one of them.
func combinationsToRun<Combination>(
    _ all: [Combination], factors: [@Sendable (Combination) -> String]
) -> [Combination] {
    runsAllCombinations ? all : pairwise(all, factors: factors)
}

/// A covering array of strength two: few of the combinations, with every pair of two factors' values that occurs among all.
///
/// Greedy, so not the fewest: the next one is that with the most pairs that are new; of equals that whose pairs have come
/// least often, so that values are spread evenly, and of these the first. The same choice in every run, in the order of `all`.
func pairwise<Combination>(
    _ all: [Combination], factors: [@Sendable (Combination) -> String]
) -> [Combination] {
    let pairs = all.map { combination in
        let values = factors.map { $0(combination) }
        return values.indices.flatMap { second in
            (0..<second).map { Pair(factors: [$0, second], values: [values[$0], values[second]]) }
        }
    }
    var uses = Dictionary(pairs.joined().map { ($0, 0) }, uniquingKeysWith: { first, _ in first })
    var chosen: Set<Int> = []
    while uses.values.contains(0) {
        var best = (index: 0, new: 0, uses: 0)
        for index in all.indices {
            let counts = pairs[index].map { uses[$0]! }
            let (new, total) = (counts.count { $0 == 0 }, counts.reduce(0, +))
            if (new, -total) > (best.new, -best.uses) { best = (index, new, total) }
        }
        for pair in pairs[best.index] { uses[pair]! += 1 }
        chosen.insert(best.index)
    }
    return chosen.sorted().map { all[$0] }
}

/// Two factors, by position, and a value of each.
private struct Pair: Hashable {
    let factors: [Int]
    let values: [String]
}
