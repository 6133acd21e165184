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
    /// A short wait spins and yields the core between tests. A long one sleeps between tests, so that waiting ranks do not
    /// starve a computing rank on the same core, and calls `meanwhile`, which may end the wait.
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
