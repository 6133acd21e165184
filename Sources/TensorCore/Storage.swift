#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A 64-byte aligned buffer of floats, on the ledger from init to deinit; or a view of memory that someone else owns,
/// such as a mapped checkpoint.
public final class Storage {
    public let pointer: UnsafeMutablePointer<Float>
    public let count: Int
    public let category: MemoryCategory
    public let ledger: Ledger
    /// Keeps borrowed memory alive; nil when the storage owns its memory.
    private let owner: AnyObject?

    /// Allocates uninitialised floats.
    public init(count: Int, category: MemoryCategory, ledger: Ledger) {
        self.count = count
        self.category = category
        self.ledger = ledger
        owner = nil
        // Before the allocation: what goes beyond the budget is never made.
        let bytes = count * MemoryLayout<Float>.stride
        ledger.register(bytes, category)
        var raw: UnsafeMutableRawPointer?
        if bytes >= BlockPool.leastBytes {
            raw = ledger.blocks.take(bytes)
        } else if posix_memalign(&raw, 64, max(64, bytes)) != 0 {
            raw = nil
        }
        guard let raw else { ledger.refuse(bytes, category) }
        pointer = raw.assumingMemoryBound(to: Float.self)
    }

    /// Views memory that `owner` keeps alive. It is never written to.
    public init(
        borrowing pointer: UnsafePointer<Float>, count: Int, owner: AnyObject, category: MemoryCategory,
        ledger: Ledger
    ) {
        self.pointer = UnsafeMutablePointer(mutating: pointer)
        self.count = count
        self.category = category
        self.ledger = ledger
        self.owner = owner
        ledger.register(count * MemoryLayout<Float>.stride, category)
    }

    deinit {
        let bytes = count * MemoryLayout<Float>.stride
        ledger.release(bytes, category)
        guard owner == nil else { return }
        if bytes >= BlockPool.leastBytes { ledger.blocks.give(pointer, bytes) } else { free(pointer) }
    }
}
