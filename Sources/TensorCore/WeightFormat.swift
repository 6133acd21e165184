import CKernels

/// How the numbers of a frozen matrix are stored.
///
/// An enum and not a protocol: the formats are a closed list that files name in their headers, the compiler checks that every
/// switch knows them all, and a list of them can say what a model takes before it is read. A new format is a case with
/// its bytes, its expansion and its encoding, all in this file; no operation changes.
package enum WeightFormat: Sendable, CaseIterable {
    case float32
    /// IEEE half precision.
    case float16
    /// The upper half of a float32.
    case bfloat16

    /// Neighbours in a row that are stored together, so that a row is only cut between such groups; rows are multiples of it.
    package var groupSize: Int { 1 }

    /// Bytes of some numbers of a row, or of whole rows.
    package func bytes(_ count: Int) -> Int {
        switch self {
        case .float32: 4 * count
        case .float16, .bfloat16: 2 * count
        }
    }

    /// The alignment that `expand` asks of its input.
    var alignment: Int {
        switch self {
        case .float32: 4
        case .float16, .bfloat16: 2
        }
    }

    /// Expands numbers that stand side by side, exactly.
    func expand(_ stored: UnsafeRawPointer, count: Int, into out: UnsafeMutablePointer<Float>) {
        switch self {
        case .float32: out.update(from: stored.assumingMemoryBound(to: Float.self), count: count)
        case .float16: ck_float_from_half(out, stored.assumingMemoryBound(to: UInt16.self), count)
        case .bfloat16: ck_float_from_bfloat16(out, stored.assumingMemoryBound(to: UInt16.self), count)
        }
    }

    /// The bytes that store the nearest numbers: for made-up weights, and for tests.
    package func encoded(_ values: [Float]) -> [UInt8] {
        func bytes(_ convert: (UnsafeMutablePointer<UInt16>, [Float], Int) -> Void) -> [UInt8] {
            var words = [UInt16](repeating: 0, count: values.count)
            convert(&words, values, values.count)
            return words.withUnsafeBytes { Array($0) }
        }
        return switch self {
        case .float32: values.withUnsafeBytes { Array($0) }
        case .float16: bytes { ck_half_from_float($0, $1, $2) }
        case .bfloat16: bytes { ck_bfloat16_from_float($0, $1, $2) }
        }
    }
}
