import CHDF5
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A single value attached to a group or a dataset. h5py reads the four kinds as int64, float64, str and bool.
public enum H5Attribute: Sendable, Equatable {
    case integer(Int64)
    case double(Double)
    case string(String)
    case bool(Bool)
}

extension H5File {
    /// Sets an attribute of a group or a dataset (the root group by default), in place of one with the same name.
    public func setAttribute(_ name: String, to value: H5Attribute, of object: String = "/") throws {
        let place = attributePlace(name, object)
        let owner = try openObject(object)
        let type = try Self.attributeType(of: value, place)
        if try H5Library.call(.run, place, "looking it up", { H5Aexists(owner.id, name) }) > 0 {
            try writing(place, "replacing it") { H5Adelete(owner.id, name) }
        }
        let space = H5Identifier(
            try H5Library.call(.run, place, "creating it") { H5Screate(H5S_SCALAR) }, close: H5Sclose)
        let attribute = H5Identifier(
            try writing(place, "creating it") {
                H5Acreate2(owner.id, name, type.id, space.id, chdf5_default(), chdf5_default())
            }, close: H5Aclose)
        let write = { (bytes: UnsafeRawPointer) in
            _ = try self.writing(place, "writing it") { H5Awrite(attribute.id, type.id, bytes) }
        }
        switch value {
        case .integer(let number): try withUnsafeBytes(of: number) { try write($0.baseAddress!) }
        case .double(let number): try withUnsafeBytes(of: number) { try write($0.baseAddress!) }
        case .bool(let flag): try withUnsafeBytes(of: Int8(flag ? 1 : 0)) { try write($0.baseAddress!) }
        case .string(let text):
            guard !text.utf8.contains(0) else {
                throw Failure.run("\(place.description): expected text without a zero byte")
            }
            // The library wants the address of the address of a C string.
            try text.withCString { characters in
                try withUnsafeBytes(of: characters) { try write($0.baseAddress!) }
            }
        }
    }

    /// The value of an attribute; nil when there is none of this name. Throws when it is no single value of a known kind.
    public func attribute(_ name: String, of object: String = "/") throws -> H5Attribute? {
        let place = attributePlace(name, object)
        let owner = try openObject(object)
        guard try H5Library.call(.configuration, place, "looking it up", { H5Aexists(owner.id, name) }) > 0
        else {
            return nil
        }
        let attribute = H5Identifier(
            try H5Library.call(.configuration, place, "opening it") {
                H5Aopen(owner.id, name, chdf5_default())
            }, close: H5Aclose)
        let space = H5Identifier(
            try H5Library.call(.configuration, place, "reading its shape") { H5Aget_space(attribute.id) },
            close: H5Sclose)
        guard H5Sget_simple_extent_npoints(space.id) == 1 else {
            throw Failure.configuration("\(place.description): expected a single value, found several")
        }
        let type = H5Identifier(
            try H5Library.call(.configuration, place, "reading its type") { H5Aget_type(attribute.id) },
            close: H5Tclose)
        let read = { (memory: hid_t, bytes: UnsafeMutableRawPointer) in
            _ = try H5Library.call(.configuration, place, "reading it") {
                H5Aread(attribute.id, memory, bytes)
            }
        }
        switch H5Tget_class(type.id) {
        case H5T_INTEGER:
            var number: Int64 = 0
            try read(chdf5_native_int64(), &number)
            return .integer(number)
        case H5T_FLOAT:
            var number: Double = 0
            try read(chdf5_native_double(), &number)
            return .double(number)
        case H5T_ENUM where H5Tget_size(type.id) == 1:
            var flag: Int8 = 0
            try read(type.id, &flag)
            return .bool(flag != 0)
        case H5T_STRING: return .string(try Self.readString(type.id, place, read))
        default:
            throw Failure.configuration("\(place.description): expected a number, a string or a truth value")
        }
    }

    /// The names of a group's or a dataset's attributes, in order of their bytes.
    public func attributeNames(of object: String = "/") throws -> [String] {
        let place = place(object)
        let owner = try openObject(object)
        var info = H5O_info_t()
        try H5Library.call(.configuration, place, "listing its attributes") {
            H5Oget_info2(owner.id, &info, UInt32(H5O_INFO_NUM_ATTRS))
        }
        return try (0..<info.num_attrs).map { index in
            func name(_ buffer: UnsafeMutablePointer<CChar>?, _ size: Int) throws -> Int {
                try H5Library.call(.configuration, place, "listing its attributes") {
                    H5Aget_name_by_idx(
                        owner.id, ".", H5_INDEX_NAME, H5_ITER_INC, index, buffer, size, chdf5_default())
                }
            }
            let length = try name(nil, 0)
            return try withUnsafeTemporaryAllocation(of: CChar.self, capacity: length + 1) {
                _ = try name($0.baseAddress, length + 1)
                return String(cString: $0.baseAddress!)
            }
        }
    }

    private func attributePlace(_ name: String, _ object: String) -> H5Place {
        H5Place(file: path, object: "\(place(object).object!): attribute \"\(name)\"")
    }

    private static func attributeType(of value: H5Attribute, _ place: H5Place) throws -> H5Identifier {
        let make = { (body: () -> hid_t) in
            H5Identifier(try H5Library.call(.run, place, "making its type", body), close: H5Tclose)
        }
        let check = { (body: () -> herr_t) in
            _ = try H5Library.call(.run, place, "making its type", body)
        }
        switch value {
        case .integer: return try make { H5Tcopy(chdf5_int64()) }
        case .double: return try make { H5Tcopy(chdf5_float64()) }
        case .string:
            let type = try make { H5Tcopy(chdf5_c_string()) }
            try check { H5Tset_size(type.id, chdf5_variable_size()) }
            try check { H5Tset_cset(type.id, H5T_CSET_UTF8) }
            return type
        case .bool:
            // h5py's convention for numpy.bool.
            let type = try make { H5Tenum_create(chdf5_int8()) }
            for (name, number) in [("FALSE", Int8(0)), ("TRUE", Int8(1))] {
                try withUnsafeBytes(of: number) { bytes in
                    try check { H5Tenum_insert(type.id, name, bytes.baseAddress) }
                }
            }
            return type
        }
    }

    private static func readString(
        _ type: hid_t, _ place: H5Place, _ read: (hid_t, UnsafeMutableRawPointer) throws -> Void
    ) throws -> String {
        let isVariable = try H5Library.call(.configuration, place, "reading its type") {
            H5Tis_variable_str(type)
        }
        guard isVariable > 0 else {
            var bytes = [UInt8](repeating: 0, count: H5Tget_size(type))
            try bytes.withUnsafeMutableBytes { try read(type, $0.baseAddress!) }
            return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        var characters: UnsafeMutablePointer<CChar>?
        try read(type, &characters)
        defer { H5free_memory(characters) }
        return characters.map { String(cString: $0) } ?? ""
    }
}
