import Support
import Testing

/// What is made of measured times.
@Suite struct TimingStatisticsTests {
    @Test func medianIsTheMiddle() {
        #expect(TimingStatistics.median([5]) == 5)
        #expect(TimingStatistics.median([9, 1, 2]) == 2)
        #expect(TimingStatistics.median([4, 1, 100, 2]) == 3)
    }

    @Test func levelledTimesNeverFall() {
        #expect(TimingStatistics.nonDecreasing([]) == [])
        #expect(TimingStatistics.nonDecreasing([1, 2, 3]) == [1, 2, 3])
        #expect(TimingStatistics.nonDecreasing([1, 4, 2, 8]) == [1, 3, 3, 8])
        #expect(TimingStatistics.nonDecreasing([3, 2, 1]) == [2, 2, 2])
        // The last value pulls the pool before it below the one before that.
        #expect(TimingStatistics.nonDecreasing([3, 4, 3, 0]) == [2.5, 2.5, 2.5, 2.5])
    }

    /// Against the definition: no other sequence of multiples of a half that never falls is nearer.
    @Test func levelledTimesAreTheNearest() {
        let grid = (0...8).map { Double($0) / 2 }
        for index in 0..<50 {
            let random = CounterRandom(17, UInt64(index))
            let values = (0..<4).map { Double(random.bits(at: UInt64($0)) % 5) }
            func distance(_ other: [Double]) -> Double {
                zip(values, other).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
            }
            let found = TimingStatistics.nonDecreasing(values)
            #expect(found == found.sorted())
            for a in grid {
                for b in grid where b >= a {
                    for c in grid where c >= b {
                        for d in grid where d >= c {
                            #expect(distance(found) <= distance([a, b, c, d]) + 1e-12)
                        }
                    }
                }
            }
        }
    }
}
