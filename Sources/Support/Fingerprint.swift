/// A 64-bit hash of bytes, for telling files and data sets apart (not for security).
///
/// Source: FNV-1a, closed with the finaliser of SplitMix64 so that every bit depends on every byte.
public struct Fingerprint: Sendable, Equatable {
    public let value: UInt64

    public init(_ bytes: [UInt8]) {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        hash = (hash ^ hash >> 30) &* 0xBF58_476D_1CE4_E5B9
        hash = (hash ^ hash >> 27) &* 0x94D0_49BB_1331_11EB
        value = hash ^ hash >> 31
    }

    /// 16 hexadecimal digits.
    public var text: String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
