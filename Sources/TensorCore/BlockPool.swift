import CKernels

/// Large blocks of memory, which come from the system and are kept for reuse when they are freed.
///
/// malloc would lay small tensors into the holes of large ones, and then has to grow for the next large one. Here a block serves
/// its size class again, and what is free never lifts what the pool holds more than `slack` above the most that was in use
/// since `resetPeak()`: blocks that were free longest go back to the system first.
final class BlockPool {
    /// Bytes from which on a block belongs here.
    static let leastBytes = 256 << 10

    /// Fresh pages cost time, and texts that differ in length need blocks of other sizes in every step: a little more than what
    /// is needed at once keeps most of them.
    private static let slack = 64 << 20

    private var live = 0
    private var peak = 0
    private var freeBytes = 0
    /// In the order in which they were freed.
    private var free: [(pointer: UnsafeMutableRawPointer, bytes: Int)] = []

    deinit { evict(downTo: 0) }

    /// A block of at least so many uninitialised bytes, at the start of a page; nil when the system has no more.
    func take(_ bytes: Int) -> UnsafeMutableRawPointer? {
        let bytes = Self.sizeClass(bytes)
        live += bytes
        peak = max(peak, live)
        if let index = free.lastIndex(where: { $0.bytes == bytes }) {
            freeBytes -= bytes
            return free.remove(at: index).pointer
        }
        evict(downTo: peak + Self.slack - live)
        return ck_take_pages(bytes)
    }

    /// Takes back a block of so many bytes.
    func give(_ pointer: UnsafeMutableRawPointer, _ bytes: Int) {
        let bytes = Self.sizeClass(bytes)
        live -= bytes
        free.append((pointer, bytes))
        freeBytes += bytes
        evict(downTo: peak + Self.slack - live)
    }

    /// Gives back all that is free; from now on counts as a peak what is used from now on.
    func resetPeak() {
        peak = live
        evict(downTo: 0)
    }

    private func evict(downTo most: Int) {
        var count = 0
        while freeBytes > most {
            let block = free[count]
            ck_give_pages_back(block.pointer, block.bytes)
            freeBytes -= block.bytes
            count += 1
        }
        free.removeFirst(count)
    }

    /// Rounds up by at most an eighth. What a tensor does not use of its block's last pages is never touched, unless a larger
    /// one had the block before.
    private static func sizeClass(_ bytes: Int) -> Int {
        let step = max(4096, (1 << (Int.bitWidth - 1 - bytes.leadingZeroBitCount)) / 8)
        return (bytes + step - 1) / step * step
    }
}
