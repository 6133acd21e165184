import CKernels
import Foundation
import Testing

/// A 16-bit floating-point format, decoded from its definition.
struct StorageFormat: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let exponentBits: Int
    let decode: @Sendable (UnsafeMutablePointer<Float>, UnsafePointer<UInt16>, Int) -> Void
    let encode: @Sendable (UnsafeMutablePointer<UInt16>, UnsafePointer<Float>, Int) -> Void

    var fractionBits: Int { 15 - exponentBits }
    var infinity: UInt16 { (UInt16(1) << exponentBits - 1) << fractionBits }

    /// NaN for every NaN pattern.
    func value(_ pattern: UInt16) -> Double {
        let sign = pattern >> 15 == 0 ? 1.0 : -1.0
        let exponent = Int(pattern & 0x7FFF) >> fractionBits
        let fraction = Double(pattern & (1 << fractionBits - 1)) * pow(2, -Double(fractionBits))
        let bias = 1 << (exponentBits - 1) - 1
        if exponent == 1 << exponentBits - 1 { return fraction == 0 ? sign * .infinity : .nan }
        if exponent == 0 { return sign * fraction * pow(2, Double(1 - bias)) }
        return sign * (1 + fraction) * pow(2, Double(exponent - bias))
    }

    func encoded(_ x: [Float]) -> [UInt16] {
        var out = [UInt16](repeating: 0x5A5A, count: x.count + 16)
        encode(&out, x, x.count)
        #expect(out[x.count...].allSatisfy { $0 == 0x5A5A }, "wrote behind the end")
        return Array(out.prefix(x.count))
    }

    static let all = [
        StorageFormat(
            testDescription: "half", exponentBits: 5, decode: { ck_float_from_half($0, $1, $2) },
            encode: { ck_half_from_float($0, $1, $2) }),
        StorageFormat(
            testDescription: "bfloat16", exponentBits: 8, decode: { ck_float_from_bfloat16($0, $1, $2) },
            encode: { ck_bfloat16_from_float($0, $1, $2) }),
    ]
}

@Suite struct ConversionTests {
    static let patterns = Array(UInt16.min...UInt16.max)

    @Test(arguments: StorageFormat.all)
    func decodesEveryPatternAndEncodesItBack(format: StorageFormat) {
        let decoded = written(Self.patterns.count) { format.decode($0, Self.patterns, Self.patterns.count) }
        let encoded = format.encoded(decoded)
        var wrong: [UInt16] = []
        for (pattern, float) in zip(Self.patterns, decoded) {
            let value = format.value(pattern)
            let back = encoded[Int(pattern)]
            let good =
                value.isNaN
                ? float.isNaN && format.value(back).isNaN && back >> 15 == pattern >> 15
                : float == Float(value) && Double(float) == value && float.sign == value.sign
                    && back == pattern
            if !good { wrong.append(pattern) }
        }
        #expect(wrong.isEmpty)
    }

    /// Between each two neighbours: the midpoint goes to the even one, the floats beside it to the nearer.
    @Test(arguments: StorageFormat.all, [Float(1), -1])
    func roundsToNearestEven(format: StorageFormat, sign: Float) {
        let below = Array(0..<format.infinity - 1)  // every finite magnitude but the largest
        let midpoints = below.map { Float((format.value($0) + format.value($0 + 1)) / 2) }
        let signBit: UInt16 = sign < 0 ? 0x8000 : 0
        #expect(format.encoded(midpoints.map { sign * $0 }) == below.map { ($0 + $0 % 2) | signBit })
        #expect(format.encoded(midpoints.map { sign * $0.nextUp }) == below.map { ($0 + 1) | signBit })
        #expect(format.encoded(midpoints.map { sign * $0.nextDown }) == below.map { $0 | signBit })
    }

    @Test(arguments: StorageFormat.all)
    func overflowsToInfinityFromHalfAStepBeyondTheLargest(format: StorageFormat) {
        let largest = format.infinity - 1
        let step = format.value(largest) - format.value(largest - 1)
        let edge = Float(format.value(largest) + step / 2)
        #expect(
            format.encoded([edge, edge.nextDown, -edge, .greatestFiniteMagnitude, .infinity, -.infinity])
                == [
                    format.infinity, largest, format.infinity | 0x8000, format.infinity, format.infinity,
                    format.infinity | 0x8000,
                ])
        // NaN whose payload lies in the dropped bits only, and one that rounding would carry.
        let nans = [Float(bitPattern: 0x7F80_0001), Float(bitPattern: 0xFFFF_FFFF), .nan]
        #expect(format.encoded(nans).allSatisfy { format.value($0).isNaN })
        #expect(format.encoded([.leastNonzeroMagnitude, -.leastNonzeroMagnitude]) == [0, 0x8000])
    }

    @Test(arguments: lengths)
    func anyLength(count: Int) {
        for format in StorageFormat.all {
            let patterns = (0..<count).map { UInt16($0 * 37 % 30_000) }
            let decoded = written(count) { format.decode($0, patterns, count) }
            #expect(decoded == patterns.map { Float(format.value($0)) })
            #expect(format.encoded(decoded) == patterns)
        }
    }
}
