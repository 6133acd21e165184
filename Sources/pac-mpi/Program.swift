import MPI
import Support
import TensorCore
import Training

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Starts and ends a command among the ranks of a job.
enum Program {
    /// Runs a command's body in the world of all ranks.
    ///
    /// The body receives the world and hands it to what it builds. A failure that all ranks share ends each of them in
    /// order; one that a rank has alone ends the whole job at once.
    static func inWorld(_ body: (consuming Communicator) throws -> Void) throws {
        try MPIEnvironment.initialize()
        setBLASThreadCount(1)
        do {
            try body(try Communicator.world())
        } catch let failure as Failure where failure.isShared {
            try MPIEnvironment.finalize()
            throw failure
        } catch {
            let failure = error as? Failure ?? .run(String(describing: error))
            let rank = MPIEnvironment.rankBeforeInitialization
            if MPIEnvironment.sizeBeforeInitialization > 1 {
                say("rank \(rank) (\(MPIEnvironment.processorName)): \(failure.message)")
                MPIEnvironment.abort(status: failure.exitStatus)
            }
            throw failure
        }
        try MPIEnvironment.finalize()
    }

    /// Tells a failure once and ends the process with its status.
    static func end(with failure: Failure) -> Never {
        if MPIEnvironment.rankBeforeInitialization == 0 { say(failure.message) }
        exit(failure.exitStatus)
    }

    /// One line on the standard error.
    private static func say(_ message: String) { fputs("pac-mpi: \(message)\n", stderr) }
}
