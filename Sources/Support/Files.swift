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
    let part = path + ".part"
    let descriptor = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Failure.run("\(part): cannot be written: \(systemReason())") }
    var written = 0
    while written < bytes.count {
        let put = bytes.withUnsafeBytes {
            write(descriptor, $0.baseAddress! + written, bytes.count - written)
        }
        if put < 0, errno == EINTR { continue }
        guard put > 0 else {
            let reason = systemReason()
            close(descriptor)
            unlink(part)
            throw Failure.run("\(part): cannot be written: \(reason)")
        }
        written += put
    }
    let synced = fsync(descriptor)
    guard close(descriptor) == 0, synced == 0, rename(part, path) == 0 else {
        throw Failure.run("\(path): cannot be written: \(systemReason())")
    }
}

/// `writeFileAtomically` for text.
public func writeFileAtomically(_ text: String, to path: String) throws {
    try writeFileAtomically(Array(text.utf8), to: path)
}

/// The system's words for the last error ("No such file or directory").
public func systemReason() -> String { String(cString: strerror(errno)) }

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
