import MPI
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Ends a job in which one rank cannot go on: a full disk, a lost peer, an exceeded budget. The rank reports the failure
/// with its number and host, and all other ranks end at once.
package enum LoneFailure {
    /// Tells a failure on the standard error, unless another rank tells its own or this one already has. Not collective.
    ///
    /// When several ranks fail, only one reports. On a signal rank 0 reports at once; the others report only in `end`.
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
            // Nothing is left to do when nobody reads the message.
            _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress!, $0.count) }
        }
    }

    /// Tells a failure and ends the job with its status. Not collective.
    package static func end(_ failure: Failure) -> Never {
        tell(failure)
        // MPI_Abort prints a message of its own, which a single process does not need.
        if isAlone { _exit(failure.exitStatus) }
        if failure.isEndedBySignal {
            // A launcher that ends the whole job has killed this process by now. Still alive: only this rank was signalled.
            sleep(5)
            speak(failure)
            TerminationSignal.awaitEnd()
        }
        MPIEnvironment.abort(status: failure.exitStatus)
    }

    private static var isAlone: Bool { MPIEnvironment.sizeBeforeInitialization == 1 }
}
