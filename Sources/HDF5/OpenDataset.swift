import CHDF5
import Support

/// What a file keeps of a dataset that is in use: the library's identifier and the dataset's form.
final class OpenDataset {
    let place: H5Place
    /// Nil once the file has been closed or given up.
    var id: hid_t?
    var form: H5DatasetForm

    /// Creates a dataset, and the groups on the way to it.
    ///
    /// - Parameter rowsPerChunk: how many rows of an extendible dataset lie together; nil for the default.
    init(creating form: H5DatasetForm, rowsPerChunk: Int?, at place: H5Place, in file: H5File) throws {
        self.place = place
        self.form = form
        let doing = "creating the dataset"
        let list = { (kind: hid_t) in
            H5Identifier(try H5Library.call(.run, place, doing) { H5Pcreate(kind) }, close: H5Pclose)
        }
        let parent = try file.identifier()
        let links = try list(chdf5_link_create())
        let creation = try list(chdf5_dataset_create())
        let access = try Self.accessList(form, place)
        try H5Library.call(.run, place, doing) { H5Pset_create_intermediate_group(links.id, 1) }
        // Rows are written before they are read, so nothing needs to be filled in.
        try H5Library.call(.run, place, doing) { H5Pset_fill_time(creation.id, H5D_FILL_TIME_NEVER) }
        let current = ([form.rowCount] + form.rowShape).map(hsize_t.init)
        var limit = current
        if form.isExtendible {
            limit[0] = chdf5_unlimited()
            let target = form.rowByteCount < Self.largeRow ? 32 << 10 : 1 << 20
            let chunk = [rowsPerChunk ?? max(1, target / form.rowByteCount)] + form.rowShape
            try H5Library.call(.run, place, doing) {
                H5Pset_chunk(creation.id, Int32(chunk.count), chunk.map(hsize_t.init))
            }
        }
        let space = H5Identifier(
            try H5Library.call(.run, place, doing) { H5Screate_simple(Int32(current.count), current, limit) },
            close: H5Sclose)
        let element = try form.type.makeIdentifier(place)
        id = try file.writing(place, doing) {
            H5Dcreate2(parent, place.object!, element.id, space.id, links.id, creation.id, access.id)
        }
    }

    /// Opens a dataset that is there.
    init(opening place: H5Place, in file: H5File) throws {
        let parent = try file.identifier()
        let form = try H5DatasetForm(of: place, in: parent)
        let access = try Self.accessList(form, place)
        self.place = place
        self.form = form
        id = try H5Library.call(.configuration, place, "opening the dataset") {
            H5Dopen2(parent, place.object!, access.id)
        }
    }

    /// Large rows bypass the chunk cache: they are read in random order, a few at a time, so keeping whole chunks would
    /// only read and copy more than was asked for. Small rows keep the default, which gathers appends.
    private static func accessList(_ form: H5DatasetForm, _ place: H5Place) throws -> H5Identifier {
        let list = H5Identifier(
            try H5Library.call(.run, place, "setting its cache") { H5Pcreate(chdf5_dataset_access()) },
            close: H5Pclose)
        if form.rowByteCount >= largeRow {
            try H5Library.call(.run, place, "setting its cache") { H5Pset_chunk_cache(list.id, 1, 0, 1) }
        }
        return list
    }

    /// Bytes from which a row counts as large.
    private static let largeRow = 1024
}
