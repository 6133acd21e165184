import CHDF5
import Support

/// How the numbers of a dataset are stored, always little-endian.
///
/// Memory has the same type as the file: the library's own conversion of floats takes 60 ns an element, so callers
/// convert other types themselves.
public enum H5ElementType: String, Sendable, CaseIterable {
    case float32
    /// IEEE half precision: 1 sign, 5 exponent and 10 fraction bits. h5py reads it as float16.
    case float16
    case uint16
    case uint32
    case int32
    case int64

    /// Bytes of one number.
    public var size: Int {
        switch self {
        case .float16, .uint16: 2
        case .float32, .uint32, .int32: 4
        case .int64: 8
        }
    }

    /// The library's type; a new identifier each time.
    func makeIdentifier(_ place: H5Place) throws -> H5Identifier {
        let base =
            switch self {
            case .float32, .float16: chdf5_float32()
            case .uint16: chdf5_uint16()
            case .uint32: chdf5_uint32()
            case .int32: chdf5_int32()
            case .int64: chdf5_int64()
            }
        let type = H5Identifier(
            try H5Library.call(.run, place, "making the type \(rawValue)") { H5Tcopy(base) }, close: H5Tclose)
        if self == .float16 {
            // Fields first: the size can shrink only to what the fields need.
            try H5Library.call(.run, place, "making the type \(rawValue)") {
                let fields = H5Tset_fields(type.id, 15, 10, 5, 0, 10)
                return fields < 0 ? fields : min(H5Tset_size(type.id, 2), H5Tset_ebias(type.id, 15))
            }
        }
        return type
    }

    /// The element type that equals one of the library's; nil when none does.
    static func matching(_ type: hid_t, _ place: H5Place) throws -> H5ElementType? {
        for candidate in allCases {
            let own = try candidate.makeIdentifier(place)
            if try H5Library.call(.configuration, place, "comparing types", { H5Tequal(type, own.id) }) > 0 {
                return candidate
            }
        }
        return nil
    }
}

/// A number whose Swift type is a dataset's element type. Half-precision and bfloat16 numbers travel as raw bytes.
public protocol H5Element: BitwiseCopyable {
    static var elementType: H5ElementType { get }
}

extension Float: H5Element { public static var elementType: H5ElementType { .float32 } }
extension UInt16: H5Element { public static var elementType: H5ElementType { .uint16 } }
extension UInt32: H5Element { public static var elementType: H5ElementType { .uint32 } }
extension Int32: H5Element { public static var elementType: H5ElementType { .int32 } }
extension Int64: H5Element { public static var elementType: H5ElementType { .int64 } }
