import MPI
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A check of what ranks see together: throws when it is not what was promised.
package typealias RankCheck = @Sendable (borrowing Communicator) throws -> Void

/// The whole of a helper program that tests start under mpirun: `PROGRAM NAME ...` runs the named checks one after the other
/// on every rank of the world.
///
/// A rank that passes prints "ok NAME". A rank that fails says why and ends the job with its failure's status.
package func runNamedChecks(of checks: [(name: String, run: RankCheck)]) {
    do {
        try MPIEnvironment.initialize()
        let world = try Communicator.world(waitLimit: WaitLimit(seconds: 20))
        for name in CommandLine.arguments.dropFirst() {
            guard let check = checks.first(where: { $0.name == name }) else {
                throw Failure.configuration("unknown check \(name)")
            }
            do {
                try check.run(world)
            } catch let failure as Failure {
                say(failure.message, on: STDERR_FILENO)
                MPIEnvironment.abort(status: failure.exitStatus)
            }
            say("ok \(name)", on: STDOUT_FILENO)
        }
        try MPIEnvironment.finalize()
    } catch {
        say("\(error)", on: STDERR_FILENO)
        MPIEnvironment.abort(status: (error as? Failure)?.exitStatus ?? 1)
    }
}

/// Writes a line at once: what stands in a buffer is lost when the job is ended.
package func say(_ text: String, on descriptor: Int32) {
    var line = text + "\n"
    line.withUTF8 { _ = write(descriptor, $0.baseAddress, $0.count) }
}

/// Throws when a condition does not hold.
package func expect(_ condition: Bool, _ message: @autoclosure () -> String, line: Int = #line) throws {
    if !condition { throw Failure.run("line \(line): \(message())") }
}

/// Throws when two values differ.
package func expectEqual<T: Equatable>(_ found: T, _ expected: T, _ what: String, line: Int = #line) throws {
    try expect(found == expected, "\(what): expected \(expected), found \(found)", line: line)
}

/// The failure that a call throws, which it must.
package func failure(of body: () throws -> Void, line: Int = #line) throws -> Failure {
    do { try body() } catch let failure as Failure { return failure }
    throw Failure.run("line \(line): expected a failure, found none")
}
