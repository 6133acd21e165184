import CHDF5
import Support

/// What a dataset in a file is: read before it is opened for use, because how it is opened depends on its row size.
struct H5DatasetForm {
    let type: H5ElementType
    let rowShape: [Int]
    var rowCount: Int
    let isExtendible: Bool

    /// Bytes of one row.
    var rowByteCount: Int { rowShape.reduce(type.size, *) }

    /// The form of a dataset that is to be created.
    init(type: H5ElementType, rowShape: [Int], rowCount: Int, isExtendible: Bool) {
        precondition(rowShape.allSatisfy { $0 > 0 }, "a row has elements")
        self.type = type
        self.rowShape = rowShape
        self.rowCount = rowCount
        self.isExtendible = isExtendible
    }

    /// Reads the form of a dataset. Throws when the path leads to something else, or to elements of another type.
    init(of place: H5Place, in parent: hid_t) throws {
        let identify = { (doing: String, close: @escaping (hid_t) -> herr_t, body: () -> hid_t) in
            H5Identifier(try H5Library.call(.configuration, place, doing, body), close: close)
        }
        let dataset = try identify("opening the dataset", H5Dclose) {
            H5Dopen2(parent, place.object!, chdf5_default())
        }
        let element = try identify("reading its type", H5Tclose) { H5Dget_type(dataset.id) }
        guard let type = try H5ElementType.matching(element.id, place) else {
            throw Failure.configuration(
                "\(place.description): expected elements of type "
                    + H5ElementType.allCases.map(\.rawValue).joined(separator: ", ")
                    + " (little-endian), found another type of \(H5Tget_size(element.id)) bytes")
        }
        let space = try identify("reading its shape", H5Sclose) { H5Dget_space(dataset.id) }
        let rank = try H5Library.call(.configuration, place, "reading its shape") {
            H5Sget_simple_extent_ndims(space.id)
        }
        guard rank > 0 else {
            throw Failure.configuration("\(place.description): expected rows, found a single value")
        }
        var shape = [hsize_t](repeating: 0, count: Int(rank))
        var limit = shape
        try H5Library.call(.configuration, place, "reading its shape") {
            H5Sget_simple_extent_dims(space.id, &shape, &limit)
        }
        self.type = type
        rowCount = Int(shape[0])
        rowShape = shape[1...].map(Int.init)
        isExtendible = limit[0] == chdf5_unlimited()
    }
}
