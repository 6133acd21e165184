import Cluster
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
    /// Whether this process is the one of the job that talks to the terminal. Commands that need no world run there alone.
    ///
    /// Processes of a launcher that the MPI library does not know would all believe to be it.
    static var speaks: Bool {
        MPIEnvironment.rankBeforeInitialization == 0 && LaunchEnvironment.current.rank == 0
    }

    /// Runs a command's body in the world of all ranks.
    ///
    /// The body receives the world and hands it to what it builds. A failure that all ranks share is told once and
    /// ends each of them in order; one that a rank has alone ends the whole job at once.
    ///
    /// - Parameter savesWhenEnded: whether a signal that ends the job comes up through the body as a failure.
    static func inWorld(
        savesWhenEnded: Bool = false, _ body: (consuming Communicator) throws -> Void
    ) throws {
        prepareAllocator()
        do {
            try MPIEnvironment.initialize()
            if savesWhenEnded { TerminationSignal.install() }
            try body(try Communicator.world())
        } catch let failure as Failure where failure.isShared {
            // Told before the library ends, which waits for all ranks: mpirun ends a job as soon as one of them leaves
            // with a status, and would cut rank 0 off before it has spoken.
            tell(failure)
            try MPIEnvironment.finalize()
            leave(status: failure.exitStatus)
        } catch {
            LoneFailure.end(error as? Failure ?? .run(String(describing: error)))
        }
        try MPIEnvironment.finalize()
    }

    /// Tells a failure once and ends the process with its status.
    static func end(with failure: Failure) -> Never {
        tell(failure)
        exit(failure.exitStatus)
    }

    /// Ends this process, whose rank 0 has spoken, with a status. Collective.
    static func leave(status: Int32) -> Never {
        // Processes that wrongly believe to be alone wait for none, and a launcher may end them all when one leaves so.
        if !speaks, MPIEnvironment.sizeBeforeInitialization == 1 { sleep(1) }
        exit(status)
    }

    /// Rank 0 tells what all ranks know.
    private static func tell(_ failure: Failure) {
        if speaks { say(failure.message) }
    }

    /// One line on the standard error.
    private static func say(_ message: String) { Output.write("pac-mpi: \(message)\n", to: STDERR_FILENO) }
}

/// Unbuffered text for a terminal or a pipe: it arrives in the order in which it was written, progress lines included.
enum Output {
    /// A line on the standard output.
    static func line(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }

    /// Writes text to a descriptor; a reader that went away is no error of ours.
    static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { systemWrite(descriptor, $0.baseAddress!, $0.count) }
            guard count > 0 || errno == EINTR else { return }
            bytes = bytes.dropFirst(max(0, count))
        }
    }
}

/// write(2), which the enumeration's own `write` would hide.
private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
    write(descriptor, bytes, count)
}
