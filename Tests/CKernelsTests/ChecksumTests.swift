import CKernels
import Testing

@Suite struct ChecksumTests {
    typealias Checksum = @Sendable (UInt32, [UInt8]) -> UInt32

    static let ways: [Checksum] = [
        { ck_crc32c($0, $1, $1.count) }, { ck_crc32c_portable($0, $1, $1.count) },
    ]

    @Test(arguments: [0, 1])
    func publishedValues(way: Int) {
        let checksum = Self.ways[way]
        #expect(checksum(0, Array("123456789".utf8)) == 0xE306_9283)
        // RFC 3720, B.4
        #expect(checksum(0, [UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(checksum(0, [UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(checksum(0, Array(0..<32)) == 0x46DD_794E)
        #expect(checksum(0, (0..<32).reversed()) == 0x113F_DB5C)
        #expect(checksum(0, []) == 0)
    }

    /// Bit by bit from the polynomial.
    func naive(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        var state = UInt32.max
        for byte in bytes {
            state ^= UInt32(byte)
            for _ in 0..<8 { state = state & 1 == 1 ? (state >> 1) ^ 0x82F6_3B78 : state >> 1 }
        }
        return ~state
    }

    @Test(arguments: [0, 1])
    func everyLengthAndContinuation(way: Int) {
        let checksum = Self.ways[way]
        var data = TestData(22)
        let bytes = (0..<300).map { _ in UInt8(truncatingIfNeeded: data.word() >> 32) }
        for count in bytes.indices {
            let expected = naive(bytes[..<count])
            #expect(checksum(0, Array(bytes[..<count])) == expected)
            let split = count * 2 / 3
            #expect(checksum(checksum(0, Array(bytes[..<split])), Array(bytes[split..<count])) == expected)
        }
        // Long enough for any interleaving of streams, at an odd offset.
        let long = (0..<100_003).map { _ in UInt8(truncatingIfNeeded: data.word() >> 32) }
        #expect(checksum(0, Array(long[5...])) == naive(long[5...]))
    }
}
