#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The terminal, if there is one.
public enum Terminal {
    /// Whether a person is watching the standard output.
    ///
    /// mpirun gives every rank a pseudo-terminal, even if its own output is a file. Only its caller knows, and says so in the
    /// environment (scripts/run does).
    public static var isWatched: Bool {
        guard getenv("OMPI_COMM_WORLD_SIZE") != nil else { return isatty(STDOUT_FILENO) == 1 }
        return getenv("PAC_MPI_TERMINAL").map { String(cString: $0) } == "1"
    }
}
