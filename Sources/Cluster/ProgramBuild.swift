import CKernels
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Which program a rank runs: two builds of one version may still send each other different messages.
package struct ProgramBuild: Sendable, Equatable {
    /// The version of this source.
    package static let currentVersion = "0.1.0"

    package var version: String
    /// What the processor is called in the names of packages: "x86_64", "arm64".
    package var architecture: String
    package var isLittleEndian: Bool
    /// CRC-32C of the executable, 8 hexadecimal digits.
    package var checksum: String

    package init(version: String, architecture: String, isLittleEndian: Bool, checksum: String) {
        self.version = version
        self.architecture = architecture
        self.isLittleEndian = isLittleEndian
        self.checksum = checksum
    }

    /// The build of this process. Not collective; reads the whole executable.
    ///
    /// - Throws: when the executable cannot be read.
    package static func current() throws -> ProgramBuild {
        ProgramBuild(
            version: currentVersion, architecture: compiledArchitecture,
            isLittleEndian: 1.littleEndian == 1, checksum: try fileChecksum(executablePath()))
    }

    /// "0.1.0 x86_64 1a2b3c4d".
    package var text: String { "\(version) \(architecture) \(checksum)" }

    private static var compiledArchitecture: String {
        #if arch(x86_64)
            "x86_64"
        #elseif arch(arm64)
            "arm64"
        #elseif arch(arm)
            "arm"
        #elseif arch(i386)
            "i386"
        #elseif arch(riscv64)
            "riscv64"
        #else
            "another architecture"
        #endif
    }

    private static func executablePath() throws -> String {
        #if os(Linux)
            return "/proc/self/exe"
        #else
            var capacity: UInt32 = 0
            _NSGetExecutablePath(nil, &capacity)
            var path = [CChar](repeating: 0, count: Int(capacity))
            guard _NSGetExecutablePath(&path, &capacity) == 0 else {
                throw Failure.run("the program's own path is not known")
            }
            return path.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        #endif
    }
}

/// The CRC-32C of a file's bytes, 8 hexadecimal digits: tells copies apart, not for security. Some gigabytes a second.
///
/// - Throws: a configuration failure that names the path and the system's reason.
package func fileChecksum(_ path: String) throws -> String {
    func failure() -> Failure { .configuration("\(path): cannot be read: \(systemReason())") }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure() }
    defer { close(descriptor) }
    var part = [UInt8](repeating: 0, count: 1 << 20)
    var checksum: UInt32 = 0
    while true {
        let got = read(descriptor, &part, part.count)
        if got < 0, errno == EINTR { continue }
        guard got >= 0 else { throw failure() }
        if got == 0 { break }
        checksum = ck_crc32c(checksum, part, got)
    }
    let digits = String(checksum, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
}
