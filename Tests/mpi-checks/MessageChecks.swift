import Glibc
import MPI
import RankChecks
import Support

let messageChecks: [(name: String, run: RankCheck)] = [
    ("ring", ring), ("progress", progress), ("zero-length", zeroLength), ("large-message", largeMessage),
    ("short-message", shortMessage),
    ("truncated-message", truncatedMessage), ("ownership", ownership), ("too-large-message", tooLargeMessage),
]

/// Every rank sends both ways round before it receives anything; sentinels behind every received range stay.
private func ring(_ world: borrowing Communicator) throws {
    let left = (world.rank + world.size - 1) % world.size
    let right = (world.rank + 1) % world.size
    let sentinel: UInt8 = 0xA5
    for (round, count) in [1, 7, 4096, 65_536, 1_000_003].enumerated() {
        var requests: [Request] = []
        for (tag, peer) in [(1, right), (2, left)] {
            let message = ByteBuffer(copying: (0..<count).map { pattern(world.rank * 2 + tag, round, $0) })
            requests.append(try world.immediateSend(message, to: peer, tag: tag))
        }
        // What moves right comes from the left.
        let sources = [(1, left), (2, right)]
        let buffers = sources.map { _ in ByteBuffer(copying: Array(repeating: sentinel, count: count + 64)) }
        for ((tag, peer), buffer) in zip(sources, buffers) {
            requests.append(
                try world.immediateReceive(into: buffer, range: 32..<32 + count, from: peer, tag: tag))
        }
        for request in requests { try request.wait() }
        for ((tag, peer), buffer) in zip(sources, buffers) {
            try expect(buffer.bytes[..<32].allSatisfy { $0 == sentinel }, "bytes before the message changed")
            try expect(buffer.bytes[(32 + count)...].allSatisfy { $0 == sentinel }, "bytes behind it changed")
            let right = (0..<count).allSatisfy { buffer.bytes[32 + $0] == pattern(peer * 2 + tag, round, $0) }
            try expect(right, "round \(round), tag \(tag): not the message that rank \(peer) sent")
        }
        try expectEqual(requests.map(\.receivedByteCount), [nil, nil, count, count], "received bytes")
    }
}

private func zeroLength(_ world: borrowing Communicator) throws {
    let peer = (world.rank + 1) % world.size
    let source = (world.rank + world.size - 1) % world.size
    let receive = try world.immediateReceive(into: ByteBuffer(count: 0), from: source, tag: 5)
    let send = try world.immediateSend(ByteBuffer(count: 0), to: peer, tag: 5)
    try receive.wait()
    try send.wait()
    try expectEqual(receive.receivedByteCount, 0, "received bytes")
    try world.broadcast(UnsafeMutableRawBufferPointer(start: nil, count: 0))
    try world.allReduceSum(UnsafeMutableBufferPointer<Float>(start: nil, count: 0))
    try expectEqual(try world.allGather([]), Array(repeating: [], count: world.size), "gathered")
    try expectEqual(
        try world.allToAll(Array(repeating: [], count: world.size)), Array(repeating: [], count: world.size),
        "exchanged")
}

/// 96 MiB each way round, beyond every eager limit and every socket buffer.
private func largeMessage(_ world: borrowing Communicator) throws {
    let count = 96 << 20
    let peer = (world.rank + 1) % world.size
    let source = (world.rank + world.size - 1) % world.size
    // Filled by words, to keep the check short.
    let message = ByteBuffer(count: count)
    let words = message.bytes.bindMemory(to: UInt64.self)
    for i in words.indices { words[i] = UInt64(i) &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(world.rank) }
    let arrived = ByteBuffer(count: count)
    let receive = try world.immediateReceive(into: arrived, from: source, tag: 6)
    let send = try world.immediateSend(message, to: peer, tag: 6)
    try receive.wait()
    try send.wait()
    let found = arrived.bytes.bindMemory(to: UInt64.self)
    let same = found.indices.allSatisfy { found[$0] == UInt64($0) &* 0x9E37_79B9_7F4A_7C15 &+ UInt64(source) }
    try expect(same, "not the message that rank \(source) sent")
    try expectEqual(receive.receivedByteCount, count, "received bytes")
}

/// With the helper thread a large message arrives while neither end calls the library.
private func progress(_ world: borrowing Communicator) throws {
    let helper = try MessageProgress(for: world)
    helper.resume()
    let count = 8 << 20
    let peer = (world.rank + 1) % world.size
    let source = (world.rank + world.size - 1) % world.size
    let arrived = ByteBuffer(count: count)
    let receive = try world.immediateReceive(into: arrived, from: source, tag: 3)
    let send = try world.immediateSend(
        ByteBuffer(copying: repeatElement(UInt8(1 + world.rank), count: count)), to: peer, tag: 3)
    // Only memory is looked at, a page at a time, as a computation would touch it.
    let deadline = ContinuousClock.now + .seconds(10)
    func isHere() -> Bool { stride(from: 4095, to: count, by: 4096).allSatisfy { arrived.bytes[$0] != 0 } }
    while !isHere(), ContinuousClock.now < deadline { usleep(1000) }
    try expect(isHere(), "a message did not arrive while the main thread was busy")
    try receive.wait()
    try send.wait()
    try expect(
        arrived.bytes.allSatisfy { $0 == UInt8(1 + source) }, "not the message that rank \(source) sent")
    // Both threads in the library at once.
    try ring(world)
    helper.pause()
    try ring(world)
    helper.resume()
    try helper.stop()
    try helper.stop()
}

private func shortMessage(_ world: borrowing Communicator) throws {
    let receive = try world.immediateReceive(into: ByteBuffer(count: 100), from: world.rank, tag: 7)
    try world.immediateSend(ByteBuffer(count: 60), to: world.rank, tag: 7).wait()
    try receive.wait()
    try expectEqual(receive.receivedByteCount, 60, "received bytes")
}

/// A message that does not fit is an error. (Open MPI 4.1 does not report it for a message to oneself.)
private func truncatedMessage(_ world: borrowing Communicator) throws {
    guard world.size > 1 else { return }
    let peer = (world.rank + 1) % world.size
    let source = (world.rank + world.size - 1) % world.size
    let receive = try world.immediateReceive(into: ByteBuffer(count: 10), from: source, tag: 8)
    let send = try world.immediateSend(ByteBuffer(count: 11), to: peer, tag: 8)
    let failure = try failure { try receive.wait() }
    try send.wait()
    let host = MPIEnvironment.processorName
    let expected =
        "rank \(world.rank) (\(host)): receive of 10 bytes with tag 8 from rank \(source) (\(host)) failed: "
        + "MPI_ERR_TRUNCATE"
    try expect(failure.message.contains(expected), "expected \(expected), found \(failure.message)")
}

/// A request keeps its buffer while it is incomplete, even when it is dropped, and no longer.
private func ownership(_ world: borrowing Communicator) throws {
    weak var kept: ByteBuffer?
    func start() throws -> Request {
        let buffer = ByteBuffer(count: 32)
        kept = buffer
        return try world.immediateReceive(into: buffer, from: world.rank, tag: 9)
    }
    func complete() throws {
        let request = try start()
        try expect(kept != nil, "a request under way let go of its buffer")
        try expect(try !request.test(), "a receive completed without a message")
        try world.immediateSend(ByteBuffer(count: 32), to: world.rank, tag: 9).wait()
        try request.wait()
        try expect(try request.test(), "a completed request is complete")
        try expect(kept == nil, "a completed request kept its buffer")
    }
    try complete()
    _ = try start()
    try expect(kept != nil, "a dropped request let go of a buffer in use")
    // The message still finds its buffer.
    try world.immediateSend(ByteBuffer(copying: Array(repeating: 3, count: 32)), to: world.rank, tag: 9)
        .wait()
    try world.barrier()
    try expect(kept!.bytes.allSatisfy { $0 == 3 }, "the kept buffer was not written")
}

/// 2 GiB of address space that nobody touches.
private final class HugeBuffer: MessageBuffer {
    let bytes: UnsafeMutableRawBufferPointer
    init() {
        let address = mmap(nil, 1 << 31, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        bytes = UnsafeMutableRawBufferPointer(start: address, count: 1 << 31)
    }
    deinit { munmap(bytes.baseAddress, bytes.count) }
}

private func tooLargeMessage(_ world: borrowing Communicator) throws {
    let refused = try failure { _ = try world.immediateSend(HugeBuffer(), to: world.rank, tag: 1) }
    try expect(refused.message.contains("expected at most 2147483647"), "found \(refused.message)")
    let wildcard = try failure {
        _ = try world.immediateReceive(into: ByteBuffer(count: 1), from: -1, tag: 1)
    }
    try expect(wildcard.message.contains("at least 0"), "found \(wildcard.message)")
    let stranger = try failure { _ = try world.immediateSend(ByteBuffer(count: 1), to: world.size, tag: 1) }
    try expect(stranger.message.contains("MPI_ERR_RANK"), "found \(stranger.message)")
}
