import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// One line that keeps telling how far a run is: rewritten in place on a terminal, otherwise a plain line every few
/// seconds.
///
/// Not for several threads at once: rank 0's main thread owns it. What it cannot write is lost without an error, since a
/// closed terminal must not end a run of hours.
public final class ProgressLine {
    private let descriptor: Int32
    private let isTerminal: Bool
    private let interval: Double
    private let now: () -> Double
    private var lastTime: Double?
    /// The newest text, if it was held back.
    private var pending: String?
    /// Whether the cursor stands on a progress line.
    private var isShowing = false

    /// - Parameters:
    ///   - descriptor: where to write; standard output by default.
    ///   - isTerminal: whether a person is watching.
    ///   - interval: the least seconds between plain lines; on a terminal the line is renewed at most ten times a second.
    ///   - now: a clock in seconds.
    public init(
        descriptor: Int32 = 1, isTerminal: Bool = Terminal.isWatched, interval: Double = 10,
        now: (() -> Double)? = nil
    ) {
        self.descriptor = descriptor
        self.isTerminal = isTerminal
        self.interval = interval
        let start = ContinuousClock.now
        self.now = now ?? { (ContinuousClock.now - start).seconds }
    }

    /// Shows a text in place of the one before, or keeps it back when the last is too recent.
    public func update(_ text: String) {
        let time = now()
        if let lastTime, time - lastTime < (isTerminal ? 0.1 : interval) {
            pending = text
            return
        }
        show(text, at: time)
    }

    /// Writes a line of its own that stays; the progress goes on below it.
    public func note(_ text: String) {
        put((isShowing ? Self.clear : "") + text + "\n")
        isShowing = false
        lastTime = isTerminal ? nil : lastTime
    }

    /// Writes what was held back and ends the line.
    public func finish() {
        if let pending { show(pending, at: now()) }
        if isShowing { put("\n") }
        isShowing = false
        lastTime = nil
    }

    private static let clear = "\r\u{1B}[K"

    private func show(_ text: String, at time: Double) {
        lastTime = time
        pending = nil
        guard isTerminal else { return put(text + "\n") }
        // A line that wraps could not be rewritten.
        let width = Self.terminalWidth(descriptor)
        put(Self.clear + (text.count < width ? text : String(text.prefix(max(1, width - 1)))))
        isShowing = true
    }

    private static func terminalWidth(_ descriptor: Int32) -> Int {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// Writes past the C library's buffer, after what is in it.
    private func put(_ text: String) {
        fflush(nil)
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress!, $0.count) }
            if count < 0, errno == EINTR { continue }
            if count <= 0 { return }
            bytes = bytes.dropFirst(count)
        }
    }
}
