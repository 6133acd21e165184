#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A clock that only goes forward.
public enum MonotonicClock {
    /// Seconds since an arbitrary moment.
    public static var seconds: Double { clockSeconds(CLOCK_MONOTONIC) }
}

/// The clock on the wall, which its host may set.
public enum WallClock {
    /// Seconds since 1970.
    public static var seconds: Double { clockSeconds(CLOCK_REALTIME) }
}

/// A clock that only goes while the calling thread has a core.
public enum ThreadClock {
    /// Seconds of processor time that the thread has taken.
    public static var seconds: Double { clockSeconds(CLOCK_THREAD_CPUTIME_ID) }
}

private func clockSeconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
