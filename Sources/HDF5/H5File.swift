import CHDF5
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// An HDF5 file in the default (earliest) format, readable by h5py and h5dump.
///
/// What `flush` has put out survives the death of the process, and what `sync` has put out the loss of power. After a
/// write that failed (a full disk) the file is given up: nothing more is written to it, not even at exit, so that all
/// that the last flush saved stays readable.
///
/// Used by one thread at a time; the library has a global lock, so one thread that owns all files is best. Errors name
/// the file, the object in it and the cause: configuration failures when something is opened or looked up, run failures
/// when rows are read or anything is written.
public final class H5File {
    public let path: String
    private var id: hid_t?
    private var datasets: [String: OpenDataset] = [:]
    private let isWritable: Bool

    /// Creates a file.
    ///
    /// - Parameter replacing: what happens to a file that is there: it is removed, or with false it is an error. It is
    ///   never emptied, because the library would do that before it finds that another process is writing it.
    public static func create(_ path: String, replacing: Bool = false) throws -> H5File {
        if replacing, unlink(path) != 0, errno != ENOENT {
            throw Failure.run("\(path): replacing the file: \(systemReason())")
        }
        return try H5File(path, isWritable: true, .run, "creating the file") {
            H5Fcreate(path, chdf5_exclusive(), chdf5_default(), $0)
        }
    }

    /// Opens a file that is not written to. Several processes may read the same file.
    public static func openForReading(_ path: String) throws -> H5File {
        try H5File(path, isWritable: false, .configuration, "opening the file") {
            H5Fopen(path, chdf5_read_only(), $0)
        }
    }

    /// Opens a file for reading and writing.
    public static func openForWriting(_ path: String) throws -> H5File {
        try H5File(path, isWritable: true, .configuration, "opening the file for writing") {
            H5Fopen(path, chdf5_read_write(), $0)
        }
    }

    private init(
        _ path: String, isWritable: Bool, _ kind: Failure.Kind, _ doing: String, _ open: (hid_t) -> hid_t
    ) throws {
        self.path = path
        self.isWritable = isWritable
        let place = H5Place(file: path)
        let access = H5Identifier(
            try H5Library.call(kind, place, doing) { H5Pcreate(chdf5_file_access()) }, close: H5Pclose)
        // A file with open objects must not seem closed: `close` closes them and then means it.
        try H5Library.call(kind, place, doing) { H5Pset_fclose_degree(access.id, H5F_CLOSE_SEMI) }
        id = try H5Library.call(kind, place, doing) { open(access.id) }
    }

    deinit {
        // An error cannot be reported here; `close` reports it. A file given up has no identifier.
        guard let id else { return }
        H5Library.prepare()
        for dataset in datasets.values { H5Dclose(dataset.id!) }
        H5Fclose(id)
    }

    // MARK: Contents

    /// True when the path leads to a group or a dataset.
    public func contains(_ object: String) throws -> Bool {
        let id = try identifier()
        var prefix = ""
        for component in Self.components(object) {
            prefix += "/" + component
            let found = try H5Library.call(.configuration, place(prefix), "looking it up") {
                H5Lexists(id, prefix, chdf5_default())
            }
            if found == 0 { return false }
        }
        return true
    }

    /// The names of a group's members, in order of their bytes.
    public func members(of group: String = "/") throws -> [String] {
        let place = place(group)
        let opened = try openObject(group)
        guard H5Iget_type(opened.id) == H5I_GROUP else {
            throw Failure.configuration("\(place.description): expected a group, found a dataset")
        }
        var info = H5G_info_t()
        try H5Library.call(.configuration, place, "listing its members") { H5Gget_info(opened.id, &info) }
        return try (0..<info.nlinks).map { index in
            func name(_ buffer: UnsafeMutablePointer<CChar>?, _ size: Int) throws -> Int {
                try H5Library.call(.configuration, place, "listing its members") {
                    H5Lget_name_by_idx(
                        opened.id, ".", H5_INDEX_NAME, H5_ITER_INC, index, buffer, size, chdf5_default())
                }
            }
            let length = try name(nil, 0)
            return try withUnsafeTemporaryAllocation(of: CChar.self, capacity: length + 1) {
                _ = try name($0.baseAddress, length + 1)
                return String(cString: $0.baseAddress!)
            }
        }
    }

    /// The paths of all datasets, depth first, in order of their names' bytes.
    public func datasetPaths(in group: String = "/") throws -> [String] {
        try members(of: group).flatMap { name in
            let child = (group == "/" ? "" : group) + "/" + name
            let opened = try openObject(child)
            return H5Iget_type(opened.id) == H5I_GROUP ? try datasetPaths(in: child) : [child]
        }
    }

    // MARK: Datasets

    /// Creates a dataset [0, rowShape...] that grows by whole rows. Groups on the way are created.
    ///
    /// - Parameter rowsPerChunk: how many rows lie together in the file; about a mebibyte by default, or 32 KiB for rows
    ///   below 1 KiB (offsets, identifiers).
    public func createDataset(
        _ object: String, type: H5ElementType, rowShape: [Int] = [], rowsPerChunk: Int? = nil
    ) throws -> H5Dataset {
        let form = H5DatasetForm(type: type, rowShape: rowShape, rowCount: 0, isExtendible: true)
        return try create(form, at: object, rowsPerChunk: rowsPerChunk)
    }

    /// Creates a dataset [rowCount, rowShape...] of a fixed size, in one piece in the file. Groups on the way are created.
    public func createFixedDataset(
        _ object: String, type: H5ElementType, rowCount: Int, rowShape: [Int] = []
    ) throws -> H5Dataset {
        let form = H5DatasetForm(type: type, rowShape: rowShape, rowCount: rowCount, isExtendible: false)
        return try create(form, at: object, rowsPerChunk: nil)
    }

    /// Creates a dataset [values.count] of a fixed size with these values.
    public func writeDataset<Element: H5Element>(_ object: String, _ values: [Element]) throws {
        let dataset = try createFixedDataset(object, type: Element.elementType, rowCount: values.count)
        try values.withUnsafeBytes { try dataset.write(rows: 0..<values.count, from: $0) }
    }

    /// Opens a dataset. With `type`, any other element type is an error.
    public func openDataset(_ object: String, type: H5ElementType? = nil) throws -> H5Dataset {
        guard try contains(object) else {
            throw Failure.configuration("\(place(object).description): expected a dataset, found nothing")
        }
        let dataset =
            if let known = datasets[Self.normalized(object)] { H5Dataset(file: self, open: known) } else {
                add(try OpenDataset(opening: place(object), in: self))
            }
        if let type, dataset.type != type {
            throw Failure.configuration(
                "\(place(object).description): expected elements of type \(type.rawValue), found "
                    + dataset.type.rawValue)
        }
        return dataset
    }

    private func create(_ form: H5DatasetForm, at object: String, rowsPerChunk: Int?) throws -> H5Dataset {
        guard try !contains(object) else {
            throw Failure.run("\(place(object).description): creating the dataset: its name is taken")
        }
        return add(try OpenDataset(creating: form, rowsPerChunk: rowsPerChunk, at: place(object), in: self))
    }

    private func add(_ dataset: OpenDataset) -> H5Dataset {
        datasets[dataset.place.object!] = dataset
        return H5Dataset(file: self, open: dataset)
    }

    // MARK: Endurance

    /// Hands everything written so far to the system: it then survives the death of this process.
    public func flush() throws {
        let id = try identifier()
        try writing(place(nil), "flushing") { H5Fflush(id, H5F_SCOPE_LOCAL) }
    }

    /// Flushes, and returns when the system has everything on the disk: it then survives a loss of power.
    public func sync() throws {
        try flush()
        let id = try identifier()
        var handle: UnsafeMutableRawPointer?
        try H5Library.call(.run, place(nil), "syncing") { H5Fget_vfd_handle(id, chdf5_default(), &handle) }
        guard let handle, fsync(handle.load(as: Int32.self)) == 0 else {
            throw Failure.run("\(path): syncing: \(systemReason())")
        }
    }

    /// Flushes and closes the file and its datasets, which cannot be used afterwards. Closing twice does nothing.
    public func close() throws {
        guard let id else { return }
        if isWritable { try flush() }
        for dataset in datasets.values {
            try abandoning(dataset.place, "closing the dataset") { H5Dclose(dataset.id!) }
            dataset.id = nil
        }
        datasets = [:]
        try abandoning(place(nil), "closing") { H5Fclose(id) }
        self.id = nil
    }

    /// Gives the file up after a failed write. Closing it would write the library's tables, whose new parts may not fit
    /// the disk, over those that still describe the flushed rows; so the identifiers are left open, unused.
    private func abandon() {
        id = nil
        for dataset in datasets.values { dataset.id = nil }
        datasets = [:]
    }

    /// Calls the library to write something; gives the file up when that fails.
    @discardableResult
    func writing<Status: SignedInteger>(
        _ place: H5Place, _ doing: @autoclosure () -> String, _ body: () -> Status
    ) throws -> Status {
        guard isWritable else {
            throw Failure.run("\(place.description): \(doing()): the file has been opened for reading only")
        }
        return try abandoning(place, doing(), body)
    }

    /// Calls the library where a failure leaves the file in an unknown state, and then gives it up.
    @discardableResult
    private func abandoning<Status: SignedInteger>(
        _ place: H5Place, _ doing: @autoclosure () -> String, _ body: () -> Status
    ) throws -> Status {
        do { return try H5Library.call(.run, place, doing(), body) } catch {
            abandon()
            throw error
        }
    }

    // MARK: Paths

    func identifier() throws -> hid_t {
        guard let id else { throw Failure.run("\(path): the file has been closed or given up") }
        return id
    }

    func place(_ object: String?) -> H5Place {
        H5Place(file: path, object: object.map(Self.normalized))
    }

    /// The object at a path, which must be there.
    func openObject(_ object: String) throws -> H5Identifier {
        guard try contains(object) else {
            throw Failure.configuration(
                "\(place(object).description): expected a group or a dataset, found nothing")
        }
        let id = try identifier()
        return H5Identifier(
            try H5Library.call(.configuration, place(object), "opening it") {
                H5Oopen(id, Self.normalized(object), chdf5_default())
            }, close: H5Oclose)
    }

    private static func components(_ object: String) -> [Substring] { object.split(separator: "/") }

    /// "/train/labels" for "train/labels" and "/train//labels/".
    private static func normalized(_ object: String) -> String {
        "/" + components(object).joined(separator: "/")
    }
}
