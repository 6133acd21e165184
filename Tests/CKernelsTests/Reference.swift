import Testing

/// Lengths around every vector width, and empty.
let lengths = [0, 1, 3, 15, 16, 17, 33, 768, 1000]

/// Deterministic test data: xorshift64*, unrelated to the generators under test.
struct TestData {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func word() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }

    /// Integers from -8 to 8: sums of up to 2^18 products are exact in float, in any order.
    mutating func integers(_ count: Int) -> [Float] {
        (0..<count).map { _ in Float(Int(word() >> 33) % 17 - 8) }
    }

    /// Uniform in the range.
    mutating func floats(_ count: Int, in range: ClosedRange<Float> = -4...4) -> [Float] {
        (0..<count).map { _ in
            range.lowerBound + (range.upperBound - range.lowerBound) * Float(word() >> 40) * 0x1p-24
        }
    }
}

/// What `body` writes to a buffer that begins as `initial`; elements behind its end must stay untouched.
func written(
    _ initial: [Float], sourceLocation: SourceLocation = #_sourceLocation,
    by body: (UnsafeMutablePointer<Float>) -> Void
) -> [Float] {
    let sentinels = [Float](repeating: -98765.5, count: 24)
    var buffer = initial + sentinels
    buffer.withUnsafeMutableBufferPointer { body($0.baseAddress!) }
    #expect(
        Array(buffer.suffix(sentinels.count)) == sentinels, "wrote behind the end",
        sourceLocation: sourceLocation)
    return Array(buffer.prefix(initial.count))
}

/// What `body` writes to a buffer of `count` elements, all of which it must overwrite: they begin as NaN.
func written(
    _ count: Int, sourceLocation: SourceLocation = #_sourceLocation,
    by body: (UnsafeMutablePointer<Float>) -> Void
) -> [Float] {
    written([Float](repeating: .nan, count: count), sourceLocation: sourceLocation, by: body)
}

/// Expects |actual - expected| <= tolerance * max(floor, |expected|) everywhere; NaN fails.
func expectClose(
    _ actual: [Float], _ expected: [Double], tolerance: Double, floor: Double = 1, _ what: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(actual.count == expected.count, sourceLocation: sourceLocation)
    var worst = (error: 0.0, index: -1)
    for (index, (a, e)) in zip(actual, expected).enumerated() {
        let error = abs(Double(a) - e) / max(floor, abs(e))
        if !(error <= worst.error) { worst = (error, index) }
        if error.isNaN { break }
    }
    #expect(
        worst.error <= tolerance,
        "\(what): error \(worst.error) at \(worst.index)", sourceLocation: sourceLocation)
}

/// Expects an error of at most `tolerance` times the largest expected magnitude.
func expectCloseToLargest(
    _ actual: [Float], _ expected: [Double], tolerance: Double, _ what: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    let largest = max(expected.map(abs).max() ?? 0, .leastNormalMagnitude)
    expectClose(
        actual.map { Float(Double($0) / largest) }, expected.map { $0 / largest }, tolerance: tolerance, what,
        sourceLocation: sourceLocation)
}

/// The gradient of a scalar function by central differences, in double precision.
func centralDifferences(_ x: [Double], step: Double = 1e-4, of function: ([Double]) -> Double) -> [Double] {
    x.indices.map { i in
        var shifted = x
        shifted[i] = x[i] + step
        let above = function(shifted)
        shifted[i] = x[i] - step
        return (above - function(shifted)) / (2 * step)
    }
}

func doubles(_ x: [Float]) -> [Double] { x.map(Double.init) }

func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
