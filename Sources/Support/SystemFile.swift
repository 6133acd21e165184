#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Reads a file that the kernel makes up as it is read, whose size it does not tell.
///
/// - Returns: nil when there is no such file or this process may not read it.
public func readSystemFile(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let got = read(descriptor, &part, part.count)
        if got < 0, errno == EINTR { continue }
        guard got >= 0 else { return nil }
        if got == 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += part[..<got]
    }
}
