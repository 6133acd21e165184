import CHDF5
import Support

/// A dataset [rows, rowShape...] of a file: rows are appended, overwritten and read as raw bytes of the element type.
///
/// Made and owned by its `H5File`, and closed with it.
public final class H5Dataset {
    enum Layout {
        case extendible(rowsPerChunk: Int?)
        case fixed(rowCount: Int)
    }

    public var path: String { place.object! }
    public let type: H5ElementType
    /// The shape of one row, [] for a dataset of one dimension.
    public let rowShape: [Int]
    /// The rows written so far, or of a fixed dataset all rows.
    public private(set) var rowCount: Int
    /// True when `append` can add rows.
    public let isExtendible: Bool

    /// Bytes of one row.
    public var rowByteCount: Int { rowShape.reduce(type.size, *) }

    private let place: H5Place
    private var id: hid_t?
    private unowned let file: H5File

    init(
        creating place: H5Place, in parent: hid_t, type: H5ElementType, rowShape: [Int], layout: Layout,
        file: H5File
    ) throws {
        precondition(rowShape.allSatisfy { $0 > 0 }, "a row has elements")
        self.place = place
        self.type = type
        self.rowShape = rowShape
        self.file = file
        let rowBytes = rowShape.reduce(type.size, *)
        let doing = "creating the dataset"
        let list = { (kind: hid_t) in
            H5Identifier(try H5Library.call(.run, place, doing) { H5Pcreate(kind) }, close: H5Pclose)
        }
        let links = try list(chdf5_link_create())
        let creation = try list(chdf5_dataset_create())
        let access = try list(chdf5_dataset_access())
        try H5Library.call(.run, place, doing) { H5Pset_create_intermediate_group(links.id, 1) }
        // Rows are written before they are read, so nothing needs to be filled in.
        try H5Library.call(.run, place, doing) { H5Pset_fill_time(creation.id, H5D_FILL_TIME_NEVER) }

        let rows: Int
        switch layout {
        case .extendible(let rowsPerChunk):
            rows = 0
            isExtendible = true
            let target = rowBytes < 1024 ? 32 << 10 : 1 << 20
            let chunk = [rowsPerChunk ?? max(1, target / rowBytes)] + rowShape
            try H5Library.call(.run, place, doing) {
                H5Pset_chunk(creation.id, Int32(chunk.count), chunk.map(hsize_t.init))
            }
            try Self.setChunkCache(access.id, rowBytes, place)
        case .fixed(let rowCount):
            rows = rowCount
            isExtendible = false
        }
        rowCount = rows
        let current = ([rows] + rowShape).map(hsize_t.init)
        let limit = isExtendible ? [chdf5_unlimited()] + current[1...] : current
        let space = H5Identifier(
            try H5Library.call(.run, place, doing) { H5Screate_simple(Int32(current.count), current, limit) },
            close: H5Sclose)
        let element = try type.makeIdentifier(place)
        id = try file.writing(place, doing) {
            H5Dcreate2(parent, place.object!, element.id, space.id, links.id, creation.id, access.id)
        }
    }

    init(opening place: H5Place, in parent: hid_t, file: H5File) throws {
        self.place = place
        self.file = file
        let doing = "opening the dataset"
        let dataset = try H5Library.call(.configuration, place, doing) {
            H5Dopen2(parent, place.object!, chdf5_default())
        }
        do {
            let element = H5Identifier(
                try H5Library.call(.configuration, place, "reading its type") { H5Dget_type(dataset) },
                close: H5Tclose)
            guard let type = try H5ElementType.matching(element.id, place) else {
                throw Failure.configuration(
                    "\(place.description): expected elements of type "
                        + H5ElementType.allCases.map(\.rawValue).joined(separator: ", ")
                        + " (little-endian), found another type of \(H5Tget_size(element.id)) bytes")
            }
            let space = H5Identifier(
                try H5Library.call(.configuration, place, "reading its shape") { H5Dget_space(dataset) },
                close: H5Sclose)
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
            id = dataset
        } catch {
            H5Dclose(dataset)
            throw error
        }
    }

    /// Large rows bypass the chunk cache: a sample is read once an epoch, in random order, so keeping whole chunks would
    /// only read and copy more than was asked for. Small rows keep the default, which gathers appends.
    private static func setChunkCache(_ access: hid_t, _ rowBytes: Int?, _ place: H5Place) throws {
        guard let rowBytes, rowBytes >= 1024 else { return }
        try H5Library.call(.run, place, "setting its cache") { H5Pset_chunk_cache(access, 1, 0, 1) }
    }

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
        rowCount += count
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

    // MARK: End

    private func identifier() throws -> hid_t {
        guard let id else { throw Failure.run("\(place.description): the file has been closed or given up") }
        return id
    }

    /// Closes the dataset; what the library still holds is written.
    func close() throws {
        guard let id else { return }
        try file.writing(place, "closing the dataset") { H5Dclose(id) }
        self.id = nil
    }

    /// Closes the dataset where no error can be reported.
    func drop() {
        if let id { H5Dclose(id) }
        id = nil
    }

    /// Forgets the dataset of a file that has been given up.
    func abandon() { id = nil }
}
