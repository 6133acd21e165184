import CHDF5
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Where something happens: a file, and an object in it.
struct H5Place {
    let file: String
    var object: String?

    var description: String { object.map { "\(file): \($0)" } ?? file }
}

/// The HDF5 library: one way to call it, one way to fail.
enum H5Library {
    /// Sets the library up before its first call.
    private static let started: Void = {
        // A file system without locks is no reason to refuse a file; a file that another process has open is. A value
        // that the user has set stays (FALSE helps on network file systems whose locks fail).
        setenv("HDF5_USE_FILE_LOCKING", "BEST_EFFORT", 0)
        // At exit the library would flush files that were given up after a failed write; see `H5File.abandon`.
        H5dont_atexit()
    }()

    /// Calls the library and throws when it returns a negative number.
    ///
    /// The failure names the place, what was being done and the most specific cause on the library's error stack.
    @discardableResult
    static func call<Status: SignedInteger>(
        _ kind: Failure.Kind, _ place: H5Place, _ doing: @autoclosure () -> String, _ body: () -> Status
    ) throws -> Status {
        prepare()
        let status = body()
        guard status < 0 else { return status }
        throw Failure(kind, "\(place.description): \(doing()): \(cause())")
    }

    /// Starts the library once, and turns its printing of errors off: a setting of each thread, where the library has
    /// been built for threads.
    static func prepare() {
        started
        H5Eset_auto2(chdf5_error_stack(), nil, nil)
    }

    /// The reason for the last error: the system's words where the system failed, else what the library found deepest.
    private static func cause() -> String {
        var causes: [String] = []
        withUnsafeMutablePointer(to: &causes) {
            _ = H5Ewalk2(
                chdf5_error_stack(), H5E_WALK_UPWARD,
                { _, entry, list in
                    if let text = entry?.pointee.desc {
                        list!.assumingMemoryBound(to: [String].self).pointee.append(String(cString: text))
                    }
                    return 0
                }, $0)
        }
        H5Eclear2(chdf5_error_stack())
        for text in causes {
            guard let reason = quoted(after: "error message = '", in: text) else { continue }
            guard text.hasPrefix("unable to lock file") else { return reason }
            return "\(reason): another process has the file open, or its file system has no locks "
                + "(HDF5_USE_FILE_LOCKING=FALSE does without)"
        }
        return causes.first ?? "unknown error"
    }

    private static func quoted(after opening: String, in text: String) -> String? {
        let bytes = Array(text.utf8)
        let mark = Array(opening.utf8)
        guard
            let start = bytes.indices.first(where: { bytes[$0...].starts(with: mark) }),
            let end = bytes[(start + mark.count)...].firstIndex(of: UInt8(ascii: "'"))
        else { return nil }
        return String(decoding: bytes[(start + mark.count)..<end], as: UTF8.self)
    }
}

/// An identifier of the library that is closed at the end of its scope. For what holds no data of its own: types,
/// spaces, property lists, attributes that have been read.
struct H5Identifier: ~Copyable {
    let id: hid_t
    private let close: (hid_t) -> herr_t

    init(_ id: hid_t, close: @escaping (hid_t) -> herr_t) {
        self.id = id
        self.close = close
    }

    deinit { _ = close(id) }
}
