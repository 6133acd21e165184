import Glibc
import MPI
import Support

let failureChecks: [(name: String, run: Check)] = [
    ("agree", agree), ("from-root", fromRoot), ("wait-limit", waitLimit), ("late-barrier", lateBarrier),
    ("fail-together", failTogether), ("fail-alone", failAlone), ("fail-silently", failSilently),
]

private struct OtherError: Error, CustomStringConvertible {
    let description = "not a Failure"
}

private func agree(_ world: borrowing Communicator) throws {
    let (rank, size) = (world.rank, world.size)
    try expectEqual(try world.agree { rank * 2 }, rank * 2, "the value of a body that succeeds")

    // One rank fails: all throw its failure, with its name, and know that they share it; alone it needs no name.
    let last = size - 1
    let one = try failure {
        try world.agree { if rank == last { throw Failure.configuration("x.json:3: bad") } }
    }
    let host = MPIEnvironment.processorName
    try expectEqual(
        one, .configuration(size == 1 ? "x.json:3: bad" : "rank \(last) (\(host)): x.json:3: bad").shared,
        "one rank's failure")

    // All fail alike: the same words on one rank and on four.
    let all = try failure { try world.agree { throw Failure.configuration("y.json: missing") } }
    try expectEqual(all, .configuration("y.json: missing").shared, "everybody's failure")

    // All fail differently: the lowest rank's.
    let lowest = try failure { try world.agree { throw Failure.run("disk \(rank) is full") } }
    try expectEqual(
        lowest, .run(size == 1 ? "disk 0 is full" : "rank 0 (\(host)): disk 0 is full").shared,
        "the lowest rank's")

    // The same words of another kind are another failure.
    let kinds = try failure { try world.agree { throw Failure(rank == 0 ? .run : .configuration, "z") } }
    try expectEqual(kinds, .run(size == 1 ? "z" : "rank 0 (\(host)): z").shared, "kinds")

    // Inside another agreement nothing is added.
    let nested = try failure { try world.agree { try world.agree { if rank == 0 { throw OtherError() } } } }
    try expectEqual(
        nested, .run(size == 1 ? "not a Failure" : "rank 0 (\(host)): not a Failure").shared, "nested")

    let empty = try failure { try world.agree { throw Failure.run("") } }
    try expectEqual(empty, .run("").shared, "an empty message")
    try world.barrier()
}

private func fromRoot(_ world: borrowing Communicator) throws {
    let rank = world.rank
    for root in 0..<world.size {
        let found = try world.fromRoot(root: root) {
            try expectEqual(rank, root, "the rank that runs the body")
            return [1, 2, UInt8(root)]
        }
        try expectEqual(found, [1, 2, UInt8(root)], "the root's bytes")
        let failed = try failure {
            _ = try world.fromRoot(root: root) { throw Failure.configuration("cluster.json:9: bad") }
        }
        try expectEqual(failed, .configuration("cluster.json:9: bad").shared, "the root's failure")
    }
    try expectEqual(try world.fromRoot { [] }, [], "nothing")
}

/// A receive without a sender ends with a message that says all; when the sender comes after all, it is still good.
private func waitLimit(_ world: borrowing Communicator) throws {
    var pipeline = try world.duplicate(name: "pipeline")
    pipeline.waitLimit = WaitLimit(seconds: 0.3)
    let last = world.size - 1
    if world.rank == 0 {
        let buffer = ByteBuffer(count: 16)
        let receive = try pipeline.immediateReceive(into: buffer, from: last, tag: 9)
        let begin = ContinuousClock.now
        let failure = try failure { try receive.wait() }
        let waited = ContinuousClock.now - begin
        try expectEqual(
            failure,
            .run(
                "rank 0 of pipeline: receive of 16 bytes with tag 9 from rank \(last) of pipeline was not complete after "
                    + "0.3 seconds"), "failure")
        try expect(waited >= .milliseconds(250) && waited < .seconds(5), "waited \(waited)")
        try world.barrier()
        if last == 0 { try pipeline.immediateSend(ByteBuffer(copying: Array(0..<16)), to: 0, tag: 9).wait() }
        try receive.wait()
        try expectEqual(buffer.array, Array(0..<16), "message")
    } else {
        try world.barrier()
        if world.rank == last {
            try pipeline.immediateSend(ByteBuffer(copying: Array(0..<16)), to: 0, tag: 9).wait()
        }
    }
    try pipeline.free()
}

/// A collective operation that one rank does not enter in time throws on the others; entered late, it still matches.
private func lateBarrier(_ world: borrowing Communicator) throws {
    var group = try world.duplicate(name: "stage 1")
    group.waitLimit = WaitLimit(seconds: 0.2)
    if world.rank == 0 {
        usleep(world.size > 1 ? 700_000 : 0)
        group.waitLimit = WaitLimit(seconds: 20)
        try group.barrier()
    } else {
        let failure = try failure { try group.barrier() }
        try expectEqual(
            failure,
            .run(
                "rank \(world.rank) of stage 1: barrier among \(world.size) ranks was not complete after 0.2 seconds"
            ),
            "failure")
    }
    try world.barrier()
    try expectEqual(try group.allReduceSum(Int64(1)), Int64(world.size), "the group after a late barrier")
}

/// How a program ends when all ranks know the failure: rank 0 speaks, all finalize and exit.
private func failTogether(_ world: borrowing Communicator) throws {
    let rank = world.rank
    do {
        try world.agree { if rank == 0 { throw Failure.configuration("x.json:3: expected a number") } }
    } catch let failure as Failure {
        if rank == 0 { say(failure.message, on: STDERR_FILENO) }
        try MPIEnvironment.finalize()
        exit(failure.exitStatus)
    }
}

/// How a program ends when one rank fails where no agreement is possible: it speaks and aborts; the others wait.
private func failAlone(_ world: borrowing Communicator) throws {
    if world.rank == world.size - 1 { throw Failure.run("rank \(world.rank) (host): the disk is full") }
    try world.barrier()
}

/// A rank that ends without a word, for the test of the test.
private func failSilently(_ world: borrowing Communicator) throws {
    if world.rank == world.size - 1 { kill(getpid(), SIGKILL) }
    try world.barrier()
}
