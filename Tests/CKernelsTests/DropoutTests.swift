import CKernels
import Testing

@Suite struct DropoutTests {
    /// CounterRandom's formula, written out again.
    func hash(_ key: UInt64, _ index: UInt64) -> UInt64 {
        var z = key &+ (index &+ 1) &* 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    @Test(arguments: lengths, [0, 0.1, 0.5, 0.9] as [Float])
    func dropsWhatTheFormulaSays(count: Int, p: Float) {
        var data = TestData(4)
        let x = data.floats(count, in: 1...2)
        let key: UInt64 = 0xDEAD_BEEF_0123_4567
        let first: UInt64 = 0xFFFF_FFF0  // crosses 2^32
        let threshold = UInt32(Double(p) * 4294967296.0)
        let expected = x.indices.map { i in
            UInt32(truncatingIfNeeded: hash(key, first &+ UInt64(i)) >> 32) >= threshold
                ? x[i] * (1 / (1 - p)) : 0
        }
        #expect(written(count) { ck_dropout($0, x, key, first, p, count) } == expected)
        #expect(written(x) { ck_dropout($0, $0, key, first, p, count) } == expected)
    }

    @Test func keepsTheStatedFractionAndDropsAllAtOne() {
        let count = 200_000
        let ones = [Float](repeating: 1, count: count)
        for p in [Float(0.1), 0.5] {
            let kept = written(count) { ck_dropout($0, ones, 7, 0, p, count) }.count { $0 != 0 }
            // Five standard deviations of a binomial are below 0.0056 here.
            #expect(abs(Double(kept) / Double(count) - Double(1 - p)) < 0.0056)
        }
        #expect(written(count) { ck_dropout($0, ones, 7, 0, 1, count) }.allSatisfy { $0 == 0 })
    }

    @Test func maskDependsOnPositionOnly() {
        let ones = [Float](repeating: 1, count: 100)
        let whole = written(100) { ck_dropout($0, ones, 11, 1000, 0.5, 100) }
        let part = written(63) { ck_dropout($0, ones, 11, 1037, 0.5, 63) }
        #expect(Array(whole[37...]) == part)
    }
}
