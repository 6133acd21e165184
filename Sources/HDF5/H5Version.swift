import CHDF5

/// The version of the HDF5 library that this process runs with ("1.10.8").
public var hdf5LibraryVersion: String {
    H5Library.prepare()
    var (major, minor, release): (UInt32, UInt32, UInt32) = (0, 0, 0)
    guard H5get_libversion(&major, &minor, &release) >= 0 else { return "of an unknown version" }
    return "\(major).\(minor).\(release)"
}
