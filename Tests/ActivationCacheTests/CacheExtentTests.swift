import ActivationCache
import Support
import Testing

/// Which mini-batches stay in the cache, and how the others are cut into windows.
@Suite struct CacheExtentTests {
    private static func draw(_ random: CounterRandom, _ place: Int, in range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(random.bits(at: UInt64(place)) % UInt64(range.count))
    }

    /// Against every number of mini-batches that could stay.
    @Test("the longest run of first mini-batches that fits on every rank stays", arguments: 0..<300)
    func residentSteps(seed: Int) throws {
        let random = CounterRandom(5, UInt64(seed))
        let (rankCount, stepCount) = (Self.draw(random, 0, in: 1...4), Self.draw(random, 1, in: 1...12))
        let needs = (0..<rankCount).map { rank in
            CacheExtent.Need(
                validation: Self.draw(random, 10 + rank, in: 0...120),
                steps: (0..<stepCount).map { Self.draw(random, 100 * (rank + 1) + $0, in: 0...50) })
        }
        let budgets = (0..<rankCount).map { Self.draw(random, 20 + $0, in: 200...600) }
        let extent = try CacheExtent(
            needs: needs, budgets: budgets, hosts: budgets.map { _ in "ann" }, largestWindow: 50)
        #expect(extent.stepCount == stepCount)
        let total = needs.map { $0.validation + $0.steps.reduce(0, +) }
        if zip(total, budgets).allSatisfy({ $0 <= $1 }) {
            #expect(extent.isWhole && extent.residentSteps == stepCount && extent.keepsValidation)
            #expect(extent.note == nil)
            return
        }
        // A quarter of the smallest budget is for windows, and the validation split stays where it takes no more than
        // another quarter.
        #expect(extent.windowBytes == budgets.min()! / 4)
        #expect(
            extent.keepsValidation == needs.indices.allSatisfy { needs[$0].validation <= budgets[$0] / 4 })
        let fitting = (0...stepCount).filter { count in
            needs.indices.allSatisfy { rank in
                extent.windowBytes + (extent.keepsValidation ? needs[rank].validation : 0)
                    + needs[rank].steps[..<count].reduce(0, +) <= budgets[rank]
            }
        }
        #expect(extent.residentSteps == fitting.max())
        #expect(!extent.isWhole && extent.note != nil)
    }

    @Test("no room for a mini-batch names the rank that has least") func noRoom() {
        #expect(
            throws: Failure.configuration(
                "cache.budget_bytes: expected room for at least 400 bytes on rank 1 (bob), four times the largest "
                    + "mini-batch, found 399; all samples would need 700")
        ) {
            try CacheExtent(
                needs: [.init(steps: [100, 100]), .init(validation: 500, steps: [100, 100])],
                budgets: [1000, 399], hosts: ["ann", "bob"], largestWindow: 100)
        }
    }

    @Test("a cache of all samples says nothing and has one window") func whole() throws {
        let extent = try CacheExtent(
            needs: [.init(validation: 10, steps: [20, 30])], budgets: [60], hosts: ["ann"], largestWindow: 30)
        #expect(extent.isWhole && extent.note == nil)
        #expect(extent.windows([[1], [2]]) { _ in 1000 } == [0..<2])
        #expect(extent.windows([]) { _ in 1000 } == [])
    }

    /// Against the definition: these properties leave one way to cut.
    @Test("windows hold all mini-batches in order, as many in each as have room", arguments: 0..<200)
    func windows(seed: Int) throws {
        let random = CounterRandom(6, UInt64(seed))
        let extent = try CacheExtent(
            needs: [.init(steps: [1000])], budgets: [400], hosts: ["ann"], largestWindow: 100)
        try #require(extent.windowBytes == 100)
        let miniBatches = (0..<Self.draw(random, 0, in: 0...20)).map { [$0] }
        // Of every third test some are larger than a window.
        let largest = [40, 100, 140][seed % 3]
        let sizes: [Int] = miniBatches.indices.map { Self.draw(random, 1 + $0, in: 0...largest) }
        let windows = extent.windows(miniBatches) { sizes[$0[0]] }
        #expect(windows.flatMap { Array($0) } == Array(miniBatches.indices))
        for (index, window) in windows.enumerated() {
            let used = sizes[window].reduce(0, +)
            #expect(!window.isEmpty && (window.count == 1 || used <= extent.windowBytes))
            if index + 1 < windows.count {
                #expect(used + sizes[window.upperBound] > extent.windowBytes, "the next would have room")
            }
        }
    }
}
