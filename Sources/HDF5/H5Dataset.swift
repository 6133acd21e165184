import CHDF5
import Support

/// A dataset [rows, rowShape...] of a file: rows are appended, overwritten and read as raw bytes of the element type.
///
/// A handle: copies mean the same dataset, which the file owns and closes. It keeps the file alive.
public struct H5Dataset {
    let file: H5File
    let open: OpenDataset

    private var place: H5Place { open.place }
    public var path: String { place.object! }
    public var type: H5ElementType { open.form.type }
    /// The shape of one row, [] for a dataset of one dimension.
    public var rowShape: [Int] { open.form.rowShape }
    /// The rows written so far, or of a fixed dataset all rows.
    public var rowCount: Int { open.form.rowCount }
    /// True when `append` can add rows.
    public var isExtendible: Bool { open.form.isExtendible }
    /// Bytes of one row.
    public var rowByteCount: Int { open.form.rowByteCount }

    // MARK: Rows

    /// Adds whole rows behind the last one. Throws when the dataset has a fixed size, or on a full disk.
    public func append(_ rows: UnsafeRawBufferPointer) throws {
        guard isExtendible else {
            throw Failure.run(
                "\(place.description): expected a dataset that grows, found one of \(rowCount) rows")
        }
        guard rows.count % rowByteCount == 0 else {
            throw Failure.run(
                "\(place.description): expected whole rows of \(rowByteCount) bytes, found \(rows.count) bytes"
            )
        }
        let count = rows.count / rowByteCount
        guard count > 0 else { return }
        let id = try identifier()
        let extent = ([rowCount + count] + rowShape).map(hsize_t.init)
        try file.writing(place, "growing to \(rowCount + count) rows") { H5Dset_extent(id, extent) }
        open.form.rowCount += count
        try write(rows: rowCount - count..<rowCount, from: rows)
    }

    /// Adds rows of numbers; their type must be the dataset's.
    public func append<Element: H5Element>(_ values: [Element]) throws {
        try require(Element.elementType)
        try values.withUnsafeBytes { try append($0) }
    }

    /// Overwrites rows that are there.
    public func write(rows: Range<Int>, from bytes: UnsafeRawBufferPointer) throws {
        try transfer(rows, bytes.count) { id, type, memory, region in
            try file.writing(place, "writing rows \(rows.lowerBound) to \(rows.upperBound - 1)") {
                H5Dwrite(id, type, memory, region, chdf5_default(), bytes.baseAddress)
            }
        }
    }

    /// Reads rows into memory of exactly their size.
    public func read(rows: Range<Int>, into bytes: UnsafeMutableRawBufferPointer) throws {
        try transfer(rows, bytes.count) { id, type, memory, region in
            try H5Library.call(.run, place, "reading rows \(rows.lowerBound) to \(rows.upperBound - 1)") {
                H5Dread(id, type, memory, region, chdf5_default(), bytes.baseAddress)
            }
        }
    }

    /// Reads rows of numbers (all rows by default); their type must be the dataset's.
    public func read<Element: H5Element>(_: Element.Type, rows: Range<Int>? = nil) throws -> [Element] {
        try require(Element.elementType)
        let rows = rows ?? 0..<rowCount
        let count = rows.count * rowShape.reduce(1, *)
        return try [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
            try read(
                rows: rows,
                into: UnsafeMutableRawBufferPointer(
                    rebasing: UnsafeMutableRawBufferPointer(buffer)[..<(count * type.size)]))
            initialized = count
        }
    }

    private func require(_ expected: H5ElementType) throws {
        guard type == expected else {
            throw Failure.run(
                "\(place.description): expected elements of type \(type.rawValue), found \(expected.rawValue)"
            )
        }
    }

    /// Selects rows in the file and in memory and hands both to a read or a write.
    private func transfer(
        _ rows: Range<Int>, _ byteCount: Int, _ body: (hid_t, hid_t, hid_t, hid_t) throws -> herr_t
    ) throws {
        guard rows.lowerBound >= 0, rows.upperBound <= rowCount else {
            throw Failure.run(
                "\(place.description): expected rows within 0..<\(rowCount), found \(rows.lowerBound)..<\(rows.upperBound)"
            )
        }
        guard byteCount == rows.count * rowByteCount else {
            throw Failure.run(
                "\(place.description): expected \(rows.count * rowByteCount) bytes for \(rows.count) rows, found "
                    + "\(byteCount)")
        }
        guard !rows.isEmpty else { return }
        let id = try identifier()
        let shape = ([rows.count] + rowShape).map(hsize_t.init)
        let start = [hsize_t(rows.lowerBound)] + rowShape.map { _ in 0 }
        let element = try type.makeIdentifier(place)
        let memory = H5Identifier(
            try H5Library.call(.run, place, "selecting rows") {
                H5Screate_simple(Int32(shape.count), shape, nil)
            },
            close: H5Sclose)
        let region = H5Identifier(
            try H5Library.call(.run, place, "selecting rows") { H5Dget_space(id) }, close: H5Sclose)
        try H5Library.call(.run, place, "selecting rows") {
            H5Sselect_hyperslab(region.id, H5S_SELECT_SET, start, nil, shape, nil)
        }
        _ = try body(id, element.id, memory.id, region.id)
    }

    private func identifier() throws -> hid_t {
        guard let id = open.id else {
            throw Failure.run("\(place.description): the file has been closed or given up")
        }
        return id
    }
}
