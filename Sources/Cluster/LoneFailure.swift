import MPI
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The end of a job because of one rank that cannot go on: a full disk, a lost peer, an exceeded budget. It says so with
/// its rank and host, and all others end at once.
package enum LoneFailure {
    /// Tells a failure on the standard error, unless another rank tells its own or this one already has. Not collective.
    ///
    /// Of ranks that fail at once, or because of each other, one speaks. Of what a signal ends rank 0 speaks at once, the
    /// others only when they `end`.
    package static func tell(_ failure: Failure) {
        if !failure.isEndedBySignal || MPIEnvironment.rankBeforeInitialization == 0 { speak(failure) }
    }

    private static func speak(_ failure: Failure) {
        MPIEnvironment.withLastWord(announces: !failure.isEndedBySignal) {
            var place =
                "rank \(MPIEnvironment.rankBeforeInitialization) (\(MPIEnvironment.processorName)): "
            // A failed wait names its rank by itself.
            if isAlone || failure.message.hasPrefix(place) { place = "" }
            let line = Array("pac-mpi: \(place)\(failure.message)\n".utf8)
            // A reader that went away is no reason to stay.
            _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress!, $0.count) }
        }
    }

    /// Tells a failure and ends the job with its status. Not collective.
    package static func end(_ failure: Failure) -> Never {
        tell(failure)
        // The library's abort has words of its own, which one process alone need not add.
        if isAlone { _exit(failure.exitStatus) }
        if failure.isEndedBySignal {
            // Whoever signals all ranks kills them before this; then it was this one alone.
            sleep(5)
            speak(failure)
            TerminationSignal.awaitEnd()
        }
        MPIEnvironment.abort(status: failure.exitStatus)
    }

    private static var isAlone: Bool { MPIEnvironment.sizeBeforeInitialization == 1 }
}
