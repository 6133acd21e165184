/// The merges still to be tried in one word: the lowest rank first, the leftmost of equal ones. A binary heap in memory
/// that the caller lends.
struct MergeHeap {
    struct Candidate {
        /// The rank in the high half, so that one comparison orders both.
        fileprivate let order: UInt64

        init(rank: UInt32, position: Int32) {
            order = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: position))
        }

        var rank: UInt32 { UInt32(truncatingIfNeeded: order >> 32) }
        var position: Int { Int(UInt32(truncatingIfNeeded: order)) }
    }

    private let slots: UnsafeMutableBufferPointer<Candidate>
    private var count = 0

    /// - Parameter slots: room for all candidates that are in the heap at one time.
    init(_ slots: UnsafeMutableBufferPointer<Candidate>) { self.slots = slots }

    @inline(__always)
    mutating func push(_ candidate: Candidate) {
        var index = count
        count += 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard candidate.order < slots[parent].order else { break }
            slots.initializeElement(at: index, to: slots[parent])
            index = parent
        }
        slots.initializeElement(at: index, to: candidate)
    }

    @inline(__always)
    mutating func pop() -> Candidate? {
        guard count > 0 else { return nil }
        let first = slots[0]
        count -= 1
        let last = slots[count]
        var index = 0
        while true {
            var child = 2 * index + 1
            guard child < count else { break }
            if child + 1 < count, slots[child + 1].order < slots[child].order { child += 1 }
            guard slots[child].order < last.order else { break }
            slots[index] = slots[child]
            index = child
        }
        slots[index] = last
        return first
    }
}
