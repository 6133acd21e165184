import CKernels
import Configuration
import HDF5
import Support

extension CachePrecision {
    /// bfloat16 is no type of HDF5: it is stored as its 16 bits.
    package var elementType: H5ElementType {
        switch self {
        case .float32: .float32
        case .float16: .float16
        case .bfloat16: .uint16
        }
    }

    /// The largest magnitude that it holds.
    private var limit: String {
        switch self {
        case .float32: "3.4e38"
        case .float16: "65504"
        case .bfloat16: "3.39e38"
        }
    }

    /// The bits of the exponent: all of them are set where a number was too large (or was no number).
    private var exponentMask: UInt16 { self == .float16 ? 0x7C00 : 0x7F80 }

    /// Numbers as they are stored, rounded to the nearest.
    ///
    /// - Throws: a run failure that names the number, when one is beyond the range: an infinity in the cache would spoil
    ///   every later epoch in silence.
    package func encode(_ numbers: [Float]) throws -> StoredNumbers {
        guard self != .float32 else { return .floats(numbers) }
        let words = [UInt16](unsafeUninitializedCapacity: numbers.count) { buffer, count in
            count = numbers.count
            guard let base = buffer.baseAddress else { return }
            self == .float16
                ? ck_half_from_float(base, numbers, count) : ck_bfloat16_from_float(base, numbers, count)
        }
        let mask = exponentMask
        if let index = words.firstIndex(where: { $0 & mask == mask }) {
            throw Failure.run(
                "cache.precision: expected activations that \(rawValue) holds, up to \(limit), found "
                    + "\(numbers[index]); \(self == .float16 ? "bfloat16 and float32 hold more" : "it is no number")"
            )
        }
        return .words(words)
    }

    /// Stored numbers as float32.
    ///
    /// - Parameter words: `count` numbers of two bytes.
    package func decode(_ words: UnsafePointer<UInt16>, into out: UnsafeMutablePointer<Float>, count: Int) {
        self == .float16 ? ck_float_from_half(out, words, count) : ck_float_from_bfloat16(out, words, count)
    }
}

/// Activations as a file stores them.
package enum StoredNumbers: Sendable {
    case floats([Float])
    case words([UInt16])

    /// Room for some numbers, zero.
    init(repeatingZero count: Int, _ precision: CachePrecision) {
        self =
            precision == .float32
            ? .floats([Float](repeating: 0, count: count)) : .words([UInt16](repeating: 0, count: count))
    }

    package func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        switch self {
        case .floats(let numbers): try numbers.withUnsafeBytes(body)
        case .words(let words): try words.withUnsafeBytes(body)
        }
    }

    package mutating func withUnsafeMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer) throws -> R)
        rethrows -> R
    {
        switch self {
        case .floats(var numbers):
            // The old value lets go of the array first, so that writing to it copies nothing.
            self = .floats([])
            defer { self = .floats(numbers) }
            return try numbers.withUnsafeMutableBytes(body)
        case .words(var words):
            self = .words([])
            defer { self = .words(words) }
            return try words.withUnsafeMutableBytes(body)
        }
    }
}
