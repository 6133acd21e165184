import ArgumentParser
import MPI
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

// Every rank parses the same arguments; what is wrong with them, and --help, is told once.
do {
    var command = try PacMPI.parseAsRoot()
    do {
        try command.run()
    } catch let failure as Failure {
        Program.end(with: failure)
    }
} catch {
    // The other ranks leave in silence and without a status: mpirun ends a job as soon as one of them has a status, and
    // would cut rank 0 off before it has spoken.
    guard Program.speaks else { exit(0) }
    let code = PacMPI.exitCode(for: error)
    let message = PacMPI.fullMessage(for: error)
    Output.write(message + "\n", to: code == .success ? STDOUT_FILENO : STDERR_FILENO)
    exit(code == .success ? 0 : code == .validationFailure ? 2 : code.rawValue)
}
