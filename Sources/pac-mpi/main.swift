import ArgumentParser
import Cluster
import MPI
import Support
import Training

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
    let code = PacMPI.exitCode(for: error)
    let message = PacMPI.fullMessage(for: error)
    guard Program.speaks else {
        if code == .success { exit(0) }
        // mpirun ends a job as soon as a rank leaves with a status, and would cut rank 0 off before it has spoken. A rank
        // that lives longer was given other arguments than rank 0, which waits for it.
        sleep(1)
        LoneFailure.end(.configuration(message))
    }
    Output.write(message + "\n", to: code == .success ? STDOUT_FILENO : STDERR_FILENO)
    exit(code == .success ? 0 : code == .validationFailure ? 2 : code.rawValue)
}
