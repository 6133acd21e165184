import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// An append-only log of events, one JSON object a line (`metrics.jsonl`).
///
/// Every event is one `write(2)` of a whole line in append mode: what was logged survives a kill at any moment.
public final class MetricsLog: Sendable {
    public let path: String
    private let descriptor: Int32
    private let start: ContinuousClock.Instant

    /// Opens the file, and creates it if need be; events that are there already stay.
    ///
    /// - Parameter start: the moment from which `time` counts.
    /// - Throws: a run failure that names the file.
    public init(path: String, start: ContinuousClock.Instant = .now) throws {
        self.path = path
        self.start = start
        descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Failure.run("\(path): cannot be written: \(systemReason())") }
    }

    deinit { close(descriptor) }

    /// Removes the events after a step: a run that resumes from that step logs them again. A missing file stays missing; an
    /// incomplete last line is removed.
    ///
    /// - Parameter isClosed: whether the events between that step and the next one (the end of an epoch) stay.
    /// - Returns: the `time` of the last event that stays; 0 without one.
    /// - Throws: when the file cannot be read or written, or a line of it is no event.
    public static func rewind(_ path: String, toStep step: Int, isClosed: Bool) throws -> Double {
        guard fileExists(path) else { return 0 }
        let bytes = try readFile(path)
        var (end, time) = (0, 0.0)
        var (read, number) = (0, 1)
        var hasSteps = false
        while let newline = bytes[read...].firstIndex(of: UInt8(ascii: "\n")) {
            let event = try JSONValue(parsing: Array(bytes[read..<newline]), file: path, firstLine: number)
            let isStep = event["event"]?.string == MetricsEvent.step.rawValue
            if isStep, event["step"]?.integer ?? 0 > step { break }
            hasSteps = hasSteps || isStep
            (read, number) = (newline + 1, number + 1)
            // What stands before the first update stays in any case.
            if isStep || isClosed || !hasSteps { (end, time) = (read, event["time"]?.number ?? time) }
        }
        if end < bytes.count { try writeFileAtomically(Array(bytes[..<end]), to: path) }
        return time
    }

    /// Appends an event: its name, the seconds since the start, and its fields in order.
    ///
    /// A number that JSON cannot write (a diverged loss) becomes null. When the disk is full, an incomplete line is removed,
    /// so the file keeps whole lines only.
    ///
    /// - Throws: a run failure that names the file.
    public func append(_ event: MetricsEvent, _ fields: [(String, JSONValue)] = []) throws {
        let seconds = Self.rounded((ContinuousClock.now - start).seconds)
        let head: [(String, JSONValue)] = [("event", .string(event.rawValue)), ("time", .number(seconds))]
        let line = Array((JSONValue.dictionary(head + fields).replacingNonFinite().text() + "\n").utf8)
        let written = put(line)
        guard written < line.count else { return }
        let reason = systemReason()
        if written > 0 {
            let end = lseek(descriptor, 0, SEEK_END)
            // Where even this fails, the failure below still says that the file cannot be written.
            if end >= off_t(written) { _ = ftruncate(descriptor, end - off_t(written)) }
        }
        throw Failure.run("\(path): cannot be written: \(reason)")
    }

    /// Writes bytes and returns how many arrived; a regular file takes less than all only when the disk is full.
    private func put(_ line: [UInt8]) -> Int {
        line.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count {
                let count = write(descriptor, buffer.baseAddress! + done, buffer.count - done)
                if count < 0, errno == EINTR { continue }
                if count <= 0 { break }
                done += count
            }
            return done
        }
    }

    /// Microseconds are enough, and read better.
    private static func rounded(_ seconds: Double) -> Double { (seconds * 1e6).rounded() / 1e6 }
}

extension Duration {
    /// The duration in seconds.
    public var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

extension JSONValue {
    /// The value with null in place of infinities and NaN.
    func replacingNonFinite() -> JSONValue {
        switch self {
        case .number(let number) where !number.isFinite: .null
        case .array(let items): .array(items.map { $0.replacingNonFinite() })
        case .object(let members): .dictionary(members.map { ($0.key, $0.value.replacingNonFinite()) })
        default: self
        }
    }
}
