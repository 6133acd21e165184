// Ranks for the SPMD tests: `spmd-checks NAME ...` runs the named checks one after the other on every rank of the
// world. A rank that passes prints "ok NAME"; a rank that fails says why and ends the job with status 1.
// With two arguments, one of them a file, it is no rank but the other process of an HDF5 test: `write-and-die FILE`,
// `open-to-read FILE`, `open-to-write FILE`.
import Glibc
import HDF5
import MPI
import Support

/// A check: throws when what it sees is not what MPI and the communicator promise.
typealias Check = @Sendable (borrowing Communicator) throws -> Void

let checks: [(name: String, run: Check)] = messageChecks + collectiveChecks + failureChecks + profileChecks

/// Writes a line at once: what stands in a buffer is lost when the job is ended.
func say(_ text: String, on descriptor: Int32) {
    var line = text + "\n"
    line.withUTF8 { _ = write(descriptor, $0.baseAddress, $0.count) }
}

do {
    if CommandLine.arguments.count == 3 {
        let path = CommandLine.arguments[2]
        switch CommandLine.arguments[1] {
        case "write-and-die": try writeAndDie(path)
        case "open-to-read":
            try H5File.openForReading(path).close()
            exit(0)
        case "open-to-write":
            try H5File.openForWriting(path).close()
            exit(0)
        default: break
        }
    }
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

/// Throws when a condition does not hold.
func expect(_ condition: Bool, _ message: @autoclosure () -> String, line: Int = #line) throws {
    if !condition { throw Failure.run("line \(line): \(message())") }
}

/// Throws when two values differ.
func expectEqual<T: Equatable>(_ found: T, _ expected: T, _ what: String, line: Int = #line) throws {
    try expect(found == expected, "\(what): expected \(expected), found \(found)", line: line)
}

/// The failure that a call throws, which it must.
func failure(of body: () throws -> Void, line: Int = #line) throws -> Failure {
    do { try body() } catch let failure as Failure { return failure }
    throw Failure.run("line \(line): expected a failure, found none")
}

/// The byte at a position of a test message: differs by sender, round and position.
func pattern(_ sender: Int, _ round: Int, _ index: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8 &+ sender &* 101 &+ round &* 17)
}
