/// Counter-based random numbers: a pure function of a key and an index, so that neither call order nor the plan changes
/// what is drawn.
///
/// Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014), applied to the key and then to the key plus counter.
public struct CounterRandom: Sendable {
    public let key: UInt64

    /// Combines any number of words (a seed, a layer, an epoch, a sample) into one key.
    public init(_ words: UInt64...) {
        key = words.reduce(0x243F_6A88_85A3_08D3) { Self.mix(($0 ^ $1) &+ 0x9E37_79B9_7F4A_7C15) }
    }

    /// A key from a seed and a name, for draws that belong to a named tensor.
    public init(seed: UInt64, name: String) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325  // FNV-1a
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        self.init(seed, hash)
    }

    /// 64 uniform bits at a position.
    public func bits(at index: UInt64) -> UInt64 {
        Self.mix(key &+ (index &+ 1) &* 0x9E37_79B9_7F4A_7C15)
    }

    /// A uniform number in [0, 1) at a position.
    public func uniform(at index: UInt64) -> Double {
        Double(bits(at: index) >> 11) * 0x1p-53
    }

    /// A permutation of 0..<count (Fisher-Yates; the modulo's bias is below 2^-40 for any data set that fits a disk).
    public func permutation(count: Int) -> [Int] {
        var order = Array(0..<count)
        for i in stride(from: count - 1, to: 0, by: -1) {
            order.swapAt(i, Int(bits(at: UInt64(i)) % UInt64(i + 1)))
        }
        return order
    }

    @inline(__always)
    static func mix(_ word: UInt64) -> UInt64 {
        var z = word
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
