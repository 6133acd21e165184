import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// How long a wait may last before it is an error: a peer that is stuck must end the run, not hang it.
public struct WaitLimit: Sendable, Equatable {
    /// Seconds from the start of a wait.
    public var seconds: Double

    public init(seconds: Double) { self.seconds = seconds }

    /// Five minutes: longer than any step of a home cluster, shorter than a night.
    public static let standard = WaitLimit(seconds: 300)

    /// Calls `isComplete` until it is true, and returns whether it became true within the limit.
    ///
    /// Short waits are spun through, giving the core away between tests; long ones sleep between tests, so that ranks
    /// that share a core do not starve the one that computes, and call `meanwhile` between them, which may end the wait.
    func poll(_ isComplete: () throws -> Bool, meanwhile: () throws -> Void) rethrows -> Bool {
        for _ in 0..<Self.spinCount {
            if try isComplete() { return true }
            sched_yield()
        }
        let deadline = MonotonicClock.seconds + seconds
        while true {
            if try isComplete() { return true }
            if MonotonicClock.seconds >= deadline { return false }
            try meanwhile()
            usleep(Self.sleepMicroseconds)
        }
    }

    private static let spinCount = 200
    static let sleepMicroseconds: UInt32 = 50
}
