import Glibc
import MPI
import RankChecks
import Support

let failureChecks: [(name: String, run: RankCheck)] = [
    ("agree", agree), ("from-root", fromRoot), ("wait-limit", waitLimit), ("late-barrier", lateBarrier),
    ("wait-limit-in-group", waitLimitInGroup), ("ended-by-signal", endedBySignal),
    ("ended-by-two-signals", endedByTwoSignals), ("fail-together", failTogether), ("fail-alone", failAlone),
    ("fail-silently", failSilently),
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
        // The others wait in the barrier below, and answer from there.
        try expectEqual(
            failure,
            .run(
                "\(place(0)): receive of 16 bytes with tag 9 from \(place(last)) in pipeline was not complete after "
                    + "0.3 seconds" + (last == 0 ? "" : "; all other ranks answer")
            ).isolating(.communication), "failure")
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
        // Longer than the others wait and then ask who is missing.
        usleep(world.size > 1 ? 2_700_000 : 0)
        group.waitLimit = WaitLimit(seconds: 20)
        try group.barrier()
    } else {
        let failure = try failure { try group.barrier() }
        try expectEqual(
            failure,
            .run(
                "\(place(world.rank)): barrier among \((0..<world.size).map(place).joined(separator: ", ")) in stage 1 "
                    + "was not complete after 0.2 seconds; no answer from \(place(0))"
            ).isolating(.communication), "failure")
    }
    try world.barrier()
    try expectEqual(try group.allReduceSum(Int64(1)), Int64(world.size), "the group after a late barrier")
}

/// In a part of the world, messages name its members by their rank in the world.
private func waitLimitInGroup(_ world: borrowing Communicator) throws {
    var group = try world.split(color: world.rank % 2, key: -world.rank, name: "stage \(world.rank % 2)")!
    try expectEqual(group.hosts, Array(repeating: MPIEnvironment.processorName, count: group.size), "hosts")
    group.waitLimit = WaitLimit(seconds: 0.1)
    let receive = try group.immediateReceive(into: ByteBuffer(count: 8), from: 0, tag: 1)
    let failure = try failure { try receive.wait() }
    let largest = world.rank % 2 == (world.size - 1) % 2 ? world.size - 1 : world.size - 2
    let expected =
        "\(place(world.rank)): receive of 8 bytes with tag 1 from \(place(largest)) in stage \(world.rank % 2) was"
    try expect(failure.message.hasPrefix(expected), "expected \(expected), found \(failure.message)")
    // It is still good when the message comes.
    try world.barrier()
    if group.rank == 0 {
        for peer in 0..<group.size { try group.immediateSend(ByteBuffer(count: 8), to: peer, tag: 1).wait() }
    }
    try receive.wait()
    try world.barrier()
    try group.free()
}

/// A signal becomes a failure of the wait that it meets, which passes through agreements at once.
private func endedBySignal(_ world: borrowing Communicator) throws {
    TerminationSignal.install()
    try TerminationSignal.check()
    try world.barrier()
    let last = world.size - 1
    // The others end because this one does.
    guard world.rank == last else { return try world.barrier() }
    let receive = try world.immediateReceive(into: ByteBuffer(count: 16), from: 0, tag: 9)
    kill(getpid(), SIGTERM)
    let between = try failure { try TerminationSignal.check() }
    try expectEqual(
        between, .run("ended by signal 15 (SIGTERM)").isolating(.signal(SIGTERM)), "between two waits")
    let begin = ContinuousClock.now
    let during = try failure { try world.agree { try receive.wait() } }
    try expect(ContinuousClock.now - begin < .seconds(5), "a wait went on after the signal")
    let expected =
        "\(place(last)): ended by signal 15 (SIGTERM) during receive of 16 bytes with tag 9 from \(place(0))"
    try expectEqual(during, .run(expected).isolating(.signal(SIGTERM)), "during a wait")
    throw during
}

/// A second signal ends a process that has not ended by itself.
private func endedByTwoSignals(_ world: borrowing Communicator) throws {
    TerminationSignal.install()
    try world.barrier()
    if world.rank == world.size - 1 {
        kill(getpid(), SIGINT)
        kill(getpid(), SIGTERM)
    }
    try world.barrier()
}

/// How messages name a rank: by its number in the world and its host, which is the same for all ranks here.
private func place(_ rank: Int) -> String { "rank \(rank) (\(MPIEnvironment.processorName))" }

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
