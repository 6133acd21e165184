import Support

/// Where the messages of all ranks lie in one region: the count and displacement lists of the library's "v" calls.
///
/// A class, because the library reads the lists until the operation is complete.
final class MessageLayout {
    let counts: UnsafeMutablePointer<Int32>
    let displacements: UnsafeMutablePointer<Int32>
    private let rankCount: Int
    /// The bytes of all messages together.
    let total: Int
    /// The first byte behind all messages.
    let end: Int

    /// - Parameter offsets: where each rank's message begins; one behind the other by default.
    init(
        counts: [Int], offsets: [Int]? = nil, _ kind: Operation.Kind, _ communicator: CommunicatorLabel
    ) throws {
        precondition(counts.count == communicator.size, "one message for each rank")
        precondition(offsets.map { $0.count == counts.count } ?? true, "one offset for each message")
        var next = 0
        var last = 0
        var places: [(count: Int32, offset: Int32)] = []
        for (index, count) in counts.enumerated() {
            let offset = offsets?[index] ?? next
            precondition(count >= 0 && offset >= 0, "counts and offsets are not negative")
            next += count
            last = max(last, offset + count)
            let doing = Operation(kind: kind, communicator: communicator, byteCount: last)
            places.append(
                (try count32(count, doing.description), try count32(offset, doing.description)))
        }
        self.counts = .allocate(capacity: max(counts.count, 1))
        displacements = .allocate(capacity: max(counts.count, 1))
        for (index, place) in places.enumerated() {
            self.counts[index] = place.count
            displacements[index] = place.offset
        }
        rankCount = counts.count
        total = next
        end = last
    }

    deinit {
        counts.deallocate()
        displacements.deallocate()
    }

    /// Each rank's bytes as an array of their own.
    func pieces(of buffer: ByteBuffer) -> [[UInt8]] {
        (0..<rankCount).map { rank in
            let begin = Int(displacements[rank])
            return Array(buffer.bytes[begin..<begin + Int(counts[rank])])
        }
    }
}
