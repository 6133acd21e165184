import CMPI
import Support

/// Operations in which all ranks of the communicator take part, in the same order with matching arguments.
///
/// Each is the library's non-blocking version followed by a limited wait, which of an immediate one is the caller's. When a
/// wait throws, the library may still use the memory given to it: the program must then end.
extension Communicator {
    /// Returns when all ranks have called it.
    public borrowing func barrier() throws {
        try run(.barrier) { MPI_Ibarrier(handle, $0) }
    }

    /// Copies the root's bytes into every rank's region; regions have the same size everywhere.
    ///
    /// Any size: regions beyond a message's limit travel in several.
    public borrowing func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int = 0) throws {
        try broadcast(bytes, root: root, memory: [])
    }

    /// The root's bytes on every rank, which need not know how many they are.
    ///
    /// - Parameter bytes: what the root gives; ignored elsewhere.
    public borrowing func broadcast(_ bytes: [UInt8]?, root: Int = 0) throws -> [UInt8] {
        precondition(rank != root || bytes != nil, "the root broadcasts something")
        let count = ByteBuffer(count: 8)
        if rank == root { count.bytes.storeBytes(of: Int64(bytes!.count), as: Int64.self) }
        try broadcast(count.bytes, root: root, memory: [count])
        let region =
            rank == root
            ? ByteBuffer(copying: bytes!) : ByteBuffer(count: Int(count.bytes.load(as: Int64.self)))
        try broadcast(region.bytes, root: root, memory: [region])
        return rank == root ? bytes! : region.array
    }

    private borrowing func broadcast(
        _ bytes: UnsafeMutableRawBufferPointer, root: Int, memory: [AnyObject]
    ) throws {
        for part in Self.parts(bytes.count, of: Self.largestMessage) {
            try run(.broadcast, byteCount: part.count, peer: root, memory: memory) {
                MPI_Ibcast(
                    bytes.baseAddress! + part.lowerBound, Int32(part.count), cmpi_byte(), Int32(root), handle,
                    $0)
            }
        }
    }

    /// Sums over the ranks, in place, element by element. The same bits on every rank and in every run.
    public borrowing func allReduceSum<Element: ReducibleElement>(
        _ values: UnsafeMutableBufferPointer<Element>
    ) throws {
        try allReduce(values, cmpi_sum())
    }

    /// The largest over the ranks, in place, element by element.
    public borrowing func allReduceMax<Element: ReducibleElement>(
        _ values: UnsafeMutableBufferPointer<Element>
    ) throws {
        try allReduce(values, cmpi_max())
    }

    /// The sum of one number over the ranks.
    public borrowing func allReduceSum<Element: ReducibleElement>(_ value: Element) throws -> Element {
        var result = value
        try withUnsafeMutablePointer(to: &result) {
            try allReduceSum(UnsafeMutableBufferPointer(start: $0, count: 1))
        }
        return result
    }

    /// The largest of one number over the ranks.
    public borrowing func allReduceMax<Element: ReducibleElement>(_ value: Element) throws -> Element {
        var result = value
        try withUnsafeMutablePointer(to: &result) {
            try allReduceMax(UnsafeMutableBufferPointer(start: $0, count: 1))
        }
        return result
    }

    /// Reduces into a buffer of its own, one part at a time. With source and result apart the library may move
    /// 2 (n - 1) / n of the data over each link (in place it always sends whole vectors up and down a tree); the parts
    /// keep the buffer small.
    private borrowing func allReduce<Element: ReducibleElement>(
        _ values: UnsafeMutableBufferPointer<Element>, _ reduction: MPI_Op
    ) throws {
        guard size > 1, !values.isEmpty else { return }
        let stride = MemoryLayout<Element>.stride
        let capacity = min(values.count, Self.reductionPart / stride)
        let result = ByteBuffer(count: capacity * stride)
        for part in Self.parts(values.count, of: capacity) {
            let slice = UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: values[part]))
            try run(.allReduce, byteCount: slice.count, memory: [result]) {
                MPI_Iallreduce(
                    slice.baseAddress, result.bytes.baseAddress, Int32(part.count),
                    Element.elementType.handle(),
                    reduction, handle, $0)
            }
            slice.copyMemory(from: UnsafeRawBufferPointer(rebasing: result.bytes[..<slice.count]))
        }
    }

    /// Every rank's bytes at the root, by rank; nil on the other ranks. Lengths may differ.
    public borrowing func gather(_ bytes: [UInt8], root: Int = 0) throws -> [[UInt8]]? {
        let layout = try MessageLayout(counts: try exchangeCounts(bytes.count), .gather, label)
        let outgoing = ByteBuffer(copying: bytes)
        let incoming = ByteBuffer(count: rank == root ? layout.total : 0)
        try run(.gather, byteCount: bytes.count, peer: root, memory: [outgoing, incoming, layout]) {
            MPI_Igatherv(
                outgoing.bytes.baseAddress, Int32(bytes.count), cmpi_byte(), incoming.bytes.baseAddress,
                layout.counts,
                layout.displacements, cmpi_byte(), Int32(root), handle, $0)
        }
        return rank == root ? layout.pieces(of: incoming) : nil
    }

    /// Every rank's bytes on every rank, by rank. Lengths may differ; together at most 2^31 - 1 bytes.
    public borrowing func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        let layout = try MessageLayout(counts: try exchangeCounts(bytes.count), .allGather, label)
        let outgoing = ByteBuffer(copying: bytes)
        let incoming = ByteBuffer(count: layout.total)
        try run(.allGather, byteCount: bytes.count, memory: [outgoing, incoming, layout]) {
            MPI_Iallgatherv(
                outgoing.bytes.baseAddress, Int32(bytes.count), cmpi_byte(), incoming.bytes.baseAddress,
                layout.counts,
                layout.displacements, cmpi_byte(), handle, $0)
        }
        return layout.pieces(of: incoming)
    }

    /// How many bytes each rank brings to a gathering.
    private borrowing func exchangeCounts(_ count: Int) throws -> [Int] {
        let outgoing = ByteBuffer(count: 8)
        let incoming = ByteBuffer(count: 8 * size)
        outgoing.bytes.storeBytes(of: Int64(count), as: Int64.self)
        try run(.allGather, byteCount: 8, memory: [outgoing, incoming]) {
            MPI_Iallgather(
                outgoing.bytes.baseAddress, 1, cmpi_int64(), incoming.bytes.baseAddress, 1, cmpi_int64(),
                handle, $0)
        }
        return (0..<size).map { Int(incoming.bytes.load(fromByteOffset: 8 * $0, as: Int64.self)) }
    }

    /// Sends one message to every rank and returns the one from every rank, by rank. Lengths may differ.
    public borrowing func allToAll(_ messages: [[UInt8]]) throws -> [[UInt8]] {
        precondition(messages.count == size, "one message to each rank")
        let outgoingCounts = ByteBuffer(count: 8 * size)
        let incomingCounts = ByteBuffer(count: 8 * size)
        for peer in 0..<size {
            outgoingCounts.bytes.storeBytes(
                of: Int64(messages[peer].count), toByteOffset: 8 * peer, as: Int64.self)
        }
        try run(.allToAll, byteCount: 8 * size, memory: [outgoingCounts, incomingCounts]) {
            MPI_Ialltoall(
                outgoingCounts.bytes.baseAddress, 1, cmpi_int64(), incomingCounts.bytes.baseAddress, 1,
                cmpi_int64(),
                handle, $0)
        }
        let send = try MessageLayout(counts: messages.map(\.count), .allToAll, label)
        let receive = try MessageLayout(
            counts: (0..<size).map { Int(incomingCounts.bytes.load(fromByteOffset: 8 * $0, as: Int64.self)) },
            .allToAll, label)
        let outgoing = ByteBuffer(copying: messages.joined().map { $0 })
        let incoming = ByteBuffer(count: receive.total)
        try allToAll(outgoing, send, incoming, receive).wait()
        return receive.pieces(of: incoming)
    }

    /// Starts to send the `outgoingCounts[p]` bytes at `outgoingOffsets[p]` to each rank p, and to receive that rank's into
    /// `incomingCounts[p]` bytes at `incomingOffsets[p]`. The buffers belong to the library until it is complete. Counts must
    /// agree pairwise; offsets and counts beyond 2^31 - 1 throw.
    ///
    /// All ranks start their exchanges of a communicator in the same order.
    public borrowing func immediateAllToAll(
        from outgoing: any MessageBuffer, counts outgoingCounts: [Int], offsets outgoingOffsets: [Int],
        into incoming: any MessageBuffer, counts incomingCounts: [Int], offsets incomingOffsets: [Int]
    ) throws -> Request {
        let send = try MessageLayout(counts: outgoingCounts, offsets: outgoingOffsets, .allToAll, label)
        let receive = try MessageLayout(counts: incomingCounts, offsets: incomingOffsets, .allToAll, label)
        return try allToAll(outgoing, send, incoming, receive)
    }

    private borrowing func allToAll(
        _ outgoing: any MessageBuffer, _ send: MessageLayout, _ incoming: any MessageBuffer,
        _ receive: MessageLayout
    ) throws -> Request {
        precondition(
            send.end <= outgoing.bytes.count && receive.end <= incoming.bytes.count,
            "messages outside the buffers")
        return try start(.allToAll, byteCount: send.total, memory: [outgoing, incoming, send, receive]) {
            MPI_Ialltoallv(
                outgoing.bytes.baseAddress, send.counts, send.displacements, cmpi_byte(),
                incoming.bytes.baseAddress, receive.counts, receive.displacements, cmpi_byte(), handle, $0)
        }
    }

    /// Starts a collective operation and waits for it.
    private borrowing func run(
        _ kind: Operation.Kind, byteCount: Int? = nil, peer: Int? = nil, memory: [AnyObject] = [],
        _ body: (UnsafeMutablePointer<MPI_Request?>) throws -> Int32
    ) throws {
        try start(kind, byteCount: byteCount, peer: peer, memory: memory, body).wait()
    }

    private borrowing func start(
        _ kind: Operation.Kind, byteCount: Int? = nil, peer: Int? = nil, memory: [AnyObject],
        _ body: (UnsafeMutablePointer<MPI_Request?>) throws -> Int32
    ) throws -> Request {
        let operation = Operation(kind: kind, communicator: label, byteCount: byteCount, peer: peer)
        return try Request(operation, limit: waitLimit, memory: memory, start: body)
    }

    /// Half a count's range, so that sums of a few never overflow.
    private static var largestMessage: Int { 1 << 30 }
    /// Bytes of the copy that a reduction keeps; large enough for the bandwidth of any home network.
    private static var reductionPart: Int { 1 << 22 }

    private static func parts(_ count: Int, of size: Int) -> [Range<Int>] {
        stride(from: 0, to: count, by: max(size, 1)).map { $0..<min($0 + size, count) }
    }
}
