import MPI
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The end of a job because of one rank that cannot go on: a full disk, a lost peer, an exceeded budget. It says so with
/// its rank and host, and all others end at once.
public enum LoneFailure {
    /// Tells a failure on the standard error and ends the job with its status. Not collective.
    public static func end(_ failure: Failure) -> Never {
        let isAlone = MPIEnvironment.sizeBeforeInitialization == 1
        let place =
            isAlone
            ? "" : "rank \(MPIEnvironment.rankBeforeInitialization) (\(MPIEnvironment.processorName)): "
        // Ranks that fail together would all speak: the lowest has the word, and ends the others before their turn.
        usleep(UInt32(min(MPIEnvironment.rankBeforeInitialization, 20)) * 100_000)
        let line = Array("pac-mpi: \(place)\(failure.message)\n".utf8)
        // A reader that went away is no reason to stay.
        _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress!, $0.count) }
        // The library's abort has words of its own, which one process alone need not add.
        if isAlone { _exit(failure.exitStatus) }
        MPIEnvironment.abort(status: failure.exitStatus)
    }
}
