#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Reads a whole file. Throws a configuration failure that names the path and the system's reason.
public func readFile(_ path: String) throws -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Failure.configuration("\(path): cannot be read: \(systemReason())") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
        throw Failure.configuration("\(path): cannot be read: \(systemReason())")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
        throw Failure.configuration("\(path): expected a file, found a directory or a device")
    }
    let size = Int(status.st_size)
    return try [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
        while count < size {
            let got = read(descriptor, buffer.baseAddress! + count, size - count)
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw Failure.configuration("\(path): cannot be read: \(systemReason())") }
            if got == 0 { break }
            count += got
        }
    }
}

/// Writes a whole file beside its place, syncs it and renames it, so that a reader sees the old file or the new one.
public func writeFileAtomically(_ bytes: [UInt8], to path: String) throws {
    let file = try AtomicFile(path)
    try bytes.withUnsafeBytes { try file.write($0) }
    try file.commit()
}

/// A file that is written piece by piece under the name `path.part`, and renamed when it is complete. If it is given up,
/// nothing stays.
public final class AtomicFile {
    public let path: String
    private var descriptor: Int32

    /// Throws when the file cannot be made.
    public init(_ path: String) throws {
        self.path = path
        descriptor = open(path + ".part", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Failure.run("\(path).part: cannot be written: \(systemReason())") }
    }

    deinit { giveUp() }

    /// Appends bytes. Throws what the system says of a full disk; nothing is left then.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        var written = 0
        while written < bytes.count {
            let put = Self.write(descriptor, bytes.baseAddress! + written, bytes.count - written)
            if put < 0, errno == EINTR { continue }
            guard put > 0 else {
                let reason = systemReason()
                giveUp()
                throw Failure.run("\(path).part: cannot be written: \(reason)")
            }
            written += put
        }
    }

    /// Syncs the file and gives it its name.
    public func commit() throws {
        let synced = fsync(descriptor)
        let closed = close(descriptor)
        descriptor = -1
        guard synced == 0, closed == 0, rename(path + ".part", path) == 0 else {
            throw Failure.run("\(path): cannot be written: \(systemReason())")
        }
    }

    private func giveUp() {
        guard descriptor >= 0 else { return }
        close(descriptor)
        unlink(path + ".part")
        descriptor = -1
    }

    // The method's name hides the system's function.
    private static func write(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
        #if canImport(Glibc)
            Glibc.write(descriptor, bytes, count)
        #else
            Darwin.write(descriptor, bytes, count)
        #endif
    }
}

/// `writeFileAtomically` for text.
public func writeFileAtomically(_ text: String, to path: String) throws {
    try writeFileAtomically(Array(text.utf8), to: path)
}

/// The system's words for the last error ("No such file or directory").
public func systemReason() -> String { String(cString: strerror(errno)) }

/// Bytes of a file; 0 where there is none.
public func fileSize(_ path: String) -> Int {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : 0
}

/// Whether something stands at a path.
public func fileExists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Makes a directory and those above it. Throws a configuration failure that names the path and the reason.
public func makeDirectory(_ path: String) throws {
    guard !path.isEmpty, !fileExists(path) else { return }
    let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
        separator: "/")
    if !parent.isEmpty { try makeDirectory(parent) }
    guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
        throw Failure.configuration("\(path): the directory cannot be made: \(systemReason())")
    }
}

/// Renames a file, replacing what stands at the new name.
public func renameFile(_ path: String, to newPath: String) throws {
    guard rename(path, newPath) == 0 else {
        throw Failure.run("\(path): cannot be renamed to \(newPath): \(systemReason())")
    }
}

/// Removes a file if it is there.
public func removeFile(_ path: String) throws {
    guard unlink(path) == 0 || errno == ENOENT else {
        throw Failure.run("\(path): cannot be removed: \(systemReason())")
    }
}

/// Removes a directory that has become empty; one with other files in it stays.
public func removeDirectoryIfEmpty(_ path: String) { rmdir(path) }

/// Checks that a directory is there and can be written to, or could be made. Throws a configuration failure that names the
/// path that stands in the way and the reason.
public func checkWritable(_ directory: String) throws {
    let path = nearestExisting(directory)
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
        throw Failure.configuration("\(directory): cannot be made: \(path) is not a directory")
    }
    guard access(path, W_OK | X_OK) == 0 else {
        throw Failure.configuration("\(directory): cannot be written: \(path): \(systemReason())")
    }
}

/// Restricts a file or a directory to its owner.
public func restrictToOwner(_ path: String) throws {
    var status = stat()
    guard stat(path, &status) == 0,
        chmod(path, status.st_mode & S_IFMT == S_IFDIR ? 0o700 : 0o600) == 0
    else { throw Failure.run("\(path): its permissions cannot be set: \(systemReason())") }
}

/// The names in a directory, sorted by their bytes; empty when there is no such directory.
public func directoryContents(_ path: String) throws -> [String] {
    guard let directory = opendir(path) else {
        guard errno == ENOENT else {
            throw Failure.configuration("\(path): cannot be read: \(systemReason())")
        }
        return []
    }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
}

/// A path, or what of it is there: the nearest directory above it that exists, "." at the end of a relative one.
public func nearestExisting(_ path: String) -> String {
    var path = path
    while !fileExists(path) {
        let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
            separator: "/")
        path = parent.isEmpty ? (path.hasPrefix("/") ? "/" : ".") : parent
    }
    return path
}
