import Support
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A signal that asks the process to end: Ctrl-C, or SIGTERM, which `mpirun` sends to the remaining ranks when a host is
/// gone, when another rank has failed, or when it is told to end itself.
///
/// Once `install`ed, the signal only sets a mark. Waits for other ranks and `check` look at it and throw, so that the
/// program can save something before it ends. A second signal, or ten more seconds,
/// end the process where it stands; `mpirun` itself kills it after one (`--mca odls_base_sigkill_timeout`).
public struct TerminationSignal: CustomStringConvertible, Sendable {
    /// SIGTERM or SIGINT.
    public let number: Int32

    /// "ended by signal 15 (SIGTERM)".
    public var description: String {
        "ended by signal \(number) (\(number == SIGINT ? "SIGINT" : "SIGTERM"))"
    }

    /// Begins to catch SIGTERM and SIGINT, for the life of the process.
    public static func install() {
        // What a handler reads must exist before it runs.
        _ = mark.load(ordering: .relaxed)
        handle(SIGALRM) { _ in _exit(1) }
        for number in [SIGTERM, SIGINT] {
            handle(number) { number in
                let (isFirst, _) = mark.compareExchange(expected: 0, desired: number, ordering: .relaxed)
                guard isFirst else { _exit(1) }
                alarm(TerminationSignal.patience)
            }
        }
    }

    /// The signal that came; nil as long as none has.
    public static var received: TerminationSignal? {
        let number = mark.load(ordering: .relaxed)
        return number == 0 ? nil : TerminationSignal(number: number)
    }

    /// Throws when a signal has come: an isolating failure, as the other ranks may be gone. Cheap; not collective.
    public static func check() throws {
        if let signal = received { throw signal.failure(signal.description) }
    }

    /// Waits for the end that the signal announced.
    ///
    /// On each host `mpirun` kills the others as soon as one of its processes has ended, and they may have more to save.
    public static func awaitEnd() -> Never {
        // The alarm of the first signal ends this.
        while true { pause() }
    }

    func failure(_ message: String) -> Failure { Failure.run(message).isolating(.signal(number)) }

    /// Ends the process with status 1 where a body takes longer than so many seconds: the library may never return from a
    /// connection that breaks.
    static func withinSeconds<T>(_ seconds: UInt32, _ body: () -> T) -> T {
        handle(SIGALRM) { _ in _exit(1) }
        let earlier = alarm(seconds)
        defer { alarm(earlier) }
        return body()
    }

    /// Seconds from a signal to the end of a process that does not end by itself.
    private static let patience: UInt32 = 10

    private static func handle(_ number: Int32, _ handler: @convention(c) (Int32) -> Void) {
        var action = sigaction()
        #if canImport(Glibc)
            action.__sigaction_handler.sa_handler = handler
        #else
            action.__sigaction_u.__sa_handler = handler
        #endif
        // Interrupted reads and writes continue.
        action.sa_flags = SA_RESTART
        sigaction(number, &action, nil)
    }
}

/// The number of the first signal; 0 before.
private let mark = Atomic<Int32>(0)
