import Glibc
import MPI
import RankChecks
import Support

let collectiveChecks: [(name: String, run: RankCheck)] = [
    ("barrier", barrier), ("split", split), ("duplicate", duplicate), ("broadcast", broadcast),
    ("all-reduce", allReduce), ("repeatable-sum", repeatableSum), ("gather", gather),
    ("all-to-all", allToAll), ("communication-clock", communicationClock),
]

/// Nobody leaves before the last has come.
private func barrier(_ world: borrowing Communicator) throws {
    try world.barrier()
    let begin = ContinuousClock.now
    if world.rank == 0 { usleep(200_000) }
    try world.barrier()
    let waited = ContinuousClock.now - begin
    try expect(waited >= .milliseconds(150), "left after \(waited), while rank 0 was still away")
}

/// Waiting for a late rank counts as communication, on whatever communicator; sleeping and computing do not.
private func communicationClock(_ world: borrowing Communicator) throws {
    let copy = try world.duplicate(name: "pipeline")
    try world.barrier()
    let begin = MonotonicClock.seconds
    let before = world.communicationSeconds
    usleep(world.rank == 0 ? 400_000 : 100_000)
    try expectEqual(copy.communicationSeconds, before, "communication while nothing was communicated")
    try copy.barrier()
    let elapsed = MonotonicClock.seconds - begin
    let spent = world.communicationSeconds - before
    try expect(spent > 0 && spent <= elapsed - 0.1, "\(spent) s of \(elapsed) s")
    if world.rank > 0 { try expect(spent > 0.15, "waited for rank 0, but counts \(spent) s") }
    if world.size == 1 { try expect(spent < 0.1, "nobody was late, but it counts \(spent) s") }
    // A receive counts from its wait, not from when it was posted.
    let receive = try copy.immediateReceive(into: ByteBuffer(count: 8), from: world.rank, tag: 2)
    let posted = world.communicationSeconds
    usleep(100_000)
    try copy.immediateSend(ByteBuffer(count: 8), to: world.rank, tag: 2).wait()
    try receive.wait()
    try expect(world.communicationSeconds - posted < 0.09, "a receive counts while nobody waits for it")
    try copy.free()
}

/// Stage groups: even and odd ranks, numbered backwards.
private func split(_ world: borrowing Communicator) throws {
    guard
        let stage = try world.split(color: world.rank % 2, key: -world.rank, name: "stage \(world.rank % 2)")
    else {
        throw Failure.run("no group for a rank that gave a color")
    }
    let members = (0..<world.size).filter { $0 % 2 == world.rank % 2 }.reversed()
    try expectEqual(stage.size, members.count, "group size")
    try expectEqual(stage.rank, Array(members).firstIndex(of: world.rank)!, "rank in the group")
    try expectEqual(stage.name, "stage \(world.rank % 2)", "name")
    try expectEqual(stage.waitLimit, world.waitLimit, "wait limit")
    try expectEqual(
        try stage.allReduceSum(Int64(1 << world.rank)), Int64(members.map { 1 << $0 }.reduce(0, +)), "sum")
    try expectEqual(try stage.allGather([UInt8(world.rank)]), members.map { [UInt8($0)] }, "members")
    try stage.free()

    let others = try world.split(color: world.rank == 0 ? nil : 7, key: 0, name: "others")
    if let others {
        try expect(world.rank != 0, "rank 0 stayed away")
        try expectEqual(others.size, world.size - 1, "group size")
        try others.free()
    } else {
        try expectEqual(world.rank, 0, "the rank without a group")
    }
}

/// A message on one communicator is invisible on the other, whatever its tag.
private func duplicate(_ world: borrowing Communicator) throws {
    let copy = try world.duplicate(name: "pipeline")
    try expectEqual([copy.rank, copy.size], [world.rank, world.size], "rank and size")
    let onCopy = ByteBuffer(count: 1)
    let onWorld = ByteBuffer(count: 1)
    let first = try copy.immediateReceive(into: onCopy, from: world.rank, tag: 1)
    let second = try world.immediateReceive(into: onWorld, from: world.rank, tag: 1)
    try world.immediateSend(ByteBuffer(copying: [11]), to: world.rank, tag: 1).wait()
    try second.wait()
    try expect(try !first.test(), "a message crossed communicators")
    try copy.immediateSend(ByteBuffer(copying: [22]), to: world.rank, tag: 1).wait()
    try first.wait()
    try expectEqual([onCopy.array, onWorld.array], [[22], [11]], "messages")
    // Errors return here as they do on the world; by default they would end the process.
    let stranger = try failure { _ = try copy.immediateSend(ByteBuffer(count: 1), to: copy.size, tag: 1) }
    try expect(stranger.message.contains(" in pipeline failed: MPI_ERR_RANK"), "found \(stranger.message)")
    try copy.free()
}

private func broadcast(_ world: borrowing Communicator) throws {
    for root in 0..<world.size {
        for count in [0, 1, 1000, 3_000_000] {
            let expected = (0..<count).map { pattern(root, count, $0) }
            let found = try world.broadcast(world.rank == root ? expected : nil, root: root)
            try expect(found == expected, "\(count) bytes from rank \(root) arrived wrong")
        }
        let region = ByteBuffer(copying: Array(repeating: UInt8(world.rank), count: 100))
        try world.broadcast(UnsafeMutableRawBufferPointer(rebasing: region.bytes[10..<90]), root: root)
        try expect(region.bytes[10..<90].allSatisfy { $0 == UInt8(root) }, "region not filled")
        let outside = region.array[..<10] + region.array[90...]
        try expect(outside.allSatisfy { $0 == UInt8(world.rank) }, "bytes around the region changed")
    }
}

/// Against closed forms: every value and sum is an integer that its type holds exactly.
private func allReduce(_ world: borrowing Communicator) throws {
    let n = world.size
    let rankSum = n * (n - 1) / 2
    // 2,500,000 floats need three parts; the last is not full.
    for count in [1, 3, 1000, 2_500_000] {
        var floats = (0..<count).map { Float($0 % 4096 + world.rank) } + [-1]
        try floats.withUnsafeMutableBufferPointer {
            try world.allReduceSum(UnsafeMutableBufferPointer(rebasing: $0[..<count]))
        }
        let right = (0..<count).allSatisfy { floats[$0] == Float(n * ($0 % 4096) + rankSum) }
        try expect(right, "sum of \(count) floats")
        try expectEqual(floats[count], -1, "the float behind")
    }
    var doubles = (0..<600_000).map { Double($0) * 0x1p-20 + Double(world.rank) }
    try doubles.withUnsafeMutableBufferPointer { try world.allReduceSum($0) }
    let right = doubles.indices.allSatisfy { doubles[$0] == Double(n * $0) * 0x1p-20 + Double(rankSum) }
    try expect(right, "sum of doubles")
    var integers = [Int64.max / 8, -5, Int64(world.rank)]
    try integers.withUnsafeMutableBufferPointer { try world.allReduceSum($0) }
    try expectEqual(integers, [Int64.max / 8 * Int64(n), Int64(-5 * n), Int64(rankSum)], "sum of integers")

    var largest: [Float] = [Float(world.rank), Float(-world.rank), world.rank == n - 1 ? 1e30 : -.infinity]
    try largest.withUnsafeMutableBufferPointer { try world.allReduceMax($0) }
    try expectEqual(largest, [Float(n - 1), 0, 1e30], "largest of floats")
    try expectEqual(try world.allReduceMax(Int64(world.rank) - 10), Int64(n - 11), "largest of integers")
    try expectEqual(
        try world.allReduceMax(1.5 * Double(world.rank)), 1.5 * Double(n - 1), "largest of doubles")
    try expectEqual(try world.allReduceSum(0.25), 0.25 * Double(n), "sum of one double")
}

/// Sums that round have the same bits on every rank and every time; prints them for the test to compare two runs.
private func repeatableSum(_ world: borrowing Communicator) throws {
    func sum(_ count: Int) throws -> [Float] {
        var values = (0..<count).map { Float(1) / Float($0 * 7 + world.rank * 13 + 3) }
        try values.withUnsafeMutableBufferPointer { try world.allReduceSum($0) }
        return values
    }
    for count in [5, 300_001] {
        let first = try sum(count)
        for _ in 0..<5 {
            // Ranks that come at different times must not change the order of additions.
            usleep(UInt32((world.rank * 7919) % 3000))
            try expect(try sum(count) == first, "a second sum of \(count) floats differs")
        }
        let everywhere = try world.allGather(first.withUnsafeBytes(Array.init))
        try expect(everywhere.allSatisfy { $0 == everywhere[0] }, "ranks have different sums")
        let digest = everywhere[0].reduce(UInt64(0xCBF2_9CE4_8422_2325)) {
            ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01B3
        }
        say("sum of \(count): \(digest)", on: STDOUT_FILENO)
    }
}

private func gather(_ world: borrowing Communicator) throws {
    // Rank 0 brings nothing.
    let message = { (rank: Int) in (0..<rank * 1001).map { pattern(rank, 1, $0) } }
    let expected = (0..<world.size).map(message)
    for root in 0..<world.size {
        let found = try world.gather(message(world.rank), root: root)
        try expect(found == (world.rank == root ? expected : nil), "gathered at rank \(root)")
    }
    try expect(try world.allGather(message(world.rank)) == expected, "gathered everywhere")
}

private func allToAll(_ world: borrowing Communicator) throws {
    let n = world.size
    let message = { (from: Int, to: Int) in (0..<(from * 700 + to * 300) % 1200).map { pattern(from, to, $0) }
    }
    let found = try world.allToAll((0..<n).map { message(world.rank, $0) })
    try expect(found == (0..<n).map { message($0, world.rank) }, "exchanged arrays")

    // Regions with gaps of 16 sentinels around every message.
    let sent = (0..<n).map { message(world.rank, $0).count }
    let received = (0..<n).map { message($0, world.rank).count }
    let offsets = { (counts: [Int]) in counts.indices.map { counts[..<$0].reduce(16) { $0 + $1 + 16 } } }
    let outgoing = ByteBuffer(count: sent.reduce(16) { $0 + $1 + 16 })
    let incoming = ByteBuffer(copying: Array(repeating: 0xEE, count: received.reduce(16) { $0 + $1 + 16 }))
    for (peer, offset) in offsets(sent).enumerated() {
        for (i, byte) in message(world.rank, peer).enumerated() { outgoing.bytes[offset + i] = byte }
    }
    try world.immediateAllToAll(
        from: outgoing, counts: sent, offsets: offsets(sent), into: incoming, counts: received,
        offsets: offsets(received)
    ).wait()
    var expected = Array(repeating: UInt8(0xEE), count: incoming.bytes.count)
    for (peer, offset) in offsets(received).enumerated() {
        expected.replaceSubrange(offset..<offset + received[peer], with: message(peer, world.rank))
    }
    try expect(incoming.array == expected, "exchanged regions")

    let huge = try failure {
        _ = try world.immediateAllToAll(
            from: outgoing, counts: Array(repeating: 1 << 32, count: n),
            offsets: Array(repeating: 0, count: n), into: incoming,
            counts: Array(repeating: 0, count: n), offsets: Array(repeating: 0, count: n))
    }
    try expect(huge.message.contains("expected at most 2147483647"), "found \(huge.message)")
}
