import CMPI
import Support

/// Throws when an MPI call did not succeed: what was being done, and the library's own words for the error.
///
/// Every call into the library goes through here. `operation` is built only when the call failed.
@inline(__always)
func check(_ code: Int32, _ operation: @autoclosure () -> String) throws {
    guard code != Int32(MPI_SUCCESS) else { return }
    throw Failure.run("MPI: \(operation()) failed: \(errorText(code))")
}

/// The library's description of an error code ("MPI_ERR_TRUNCATE: message truncated").
private func errorText(_ code: Int32) -> String {
    textOfLibrary(capacity: Int(MPI_MAX_ERROR_STRING)) { MPI_Error_string(code, $0, $1) }
        ?? "unknown error \(code)"
}

/// A text that a call writes into a buffer of a fixed capacity; nil when the call fails.
func textOfLibrary(
    capacity: Int, _ fill: (UnsafeMutablePointer<CChar>, UnsafeMutablePointer<Int32>) -> Int32
) -> String? {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: capacity + 1) { buffer in
        var length: Int32 = 0
        guard fill(buffer.baseAddress!, &length) == Int32(MPI_SUCCESS) else { return nil }
        let bytes = UnsafeRawBufferPointer(buffer)[..<min(Int(length), capacity)]
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// A number of elements as the library's 32-bit count.
///
/// MPI-3 counts are C ints; a larger one is refused rather than wrapped.
func count32(_ count: Int, _ operation: @autoclosure () -> String) throws -> Int32 {
    guard let narrow = Int32(exactly: count), narrow >= 0 else {
        throw Failure.run(
            "MPI: \(operation()): expected at most \(Int32.max) elements in one message, found \(count)")
    }
    return narrow
}
