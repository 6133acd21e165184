/// Maps byte strings to ids and walks them byte by byte, so that all keys that begin a text are found in one pass.
///
/// Transitions live in one open-addressing table: (node, byte) to child. Keys are bytes because a `String` key would make
/// canonically equivalent tokens equal.
struct ByteTrie: Sendable {
    typealias Node = UInt32
    static let root: Node = 0
    private static let empty = UInt64.max
    private static let childBits: UInt64 = 24

    /// node (32 bits) | byte (8) | child (24).
    private var slots: [UInt64]
    private var shift: UInt64
    private var values: [Int32] = [-1]

    init() {
        slots = Array(repeating: Self.empty, count: 256)
        shift = 64 - 8
    }

    /// Adds a key, or gives it a new value.
    mutating func set(_ key: some Sequence<UInt8>, _ value: Int32) {
        var node = Self.root
        for byte in key {
            if let next = child(of: node, byte) {
                node = next
                continue
            }
            let new = Node(values.count)
            precondition(UInt64(new) < 1 << Self.childBits, "a trie holds at most 2^24 nodes")
            if values.count * 2 > slots.count { grow() }
            place(UInt64(node) << 32 | UInt64(byte) << Self.childBits | UInt64(new))
            values.append(-1)
            node = new
        }
        values[Int(node)] = value
    }

    /// The node one byte further, nil when no key goes there.
    @inline(__always)
    func child(of node: Node, _ byte: UInt8) -> Node? {
        let wanted = UInt64(node) << 8 | UInt64(byte)
        var index = slot(for: wanted)
        while true {
            let entry = slots[index]
            if entry >> Self.childBits == wanted { return Node(truncatingIfNeeded: entry & 0xFF_FFFF) }
            if entry == Self.empty { return nil }
            index = (index + 1) & (slots.count - 1)
        }
    }

    /// The id of the key that ends at a node, negative when none does.
    @inline(__always)
    func value(at node: Node) -> Int32 { values[Int(node)] }

    /// The node a byte string leads to.
    func node(at key: some Sequence<UInt8>) -> Node? {
        var node = Self.root
        for byte in key {
            guard let next = child(of: node, byte) else { return nil }
            node = next
        }
        return node
    }

    /// The id of exactly this key.
    subscript(key: some Sequence<UInt8>) -> Int32? {
        guard let node = node(at: key), value(at: node) >= 0 else { return nil }
        return value(at: node)
    }

    @inline(__always)
    private func slot(for key: UInt64) -> Int { Int((key &* 0x9E37_79B9_7F4A_7C15) >> shift) }

    private mutating func place(_ entry: UInt64) {
        var index = slot(for: entry >> Self.childBits)
        while slots[index] != Self.empty { index = (index + 1) & (slots.count - 1) }
        slots[index] = entry
    }

    private mutating func grow() {
        let old = slots
        slots = Array(repeating: Self.empty, count: old.count * 2)
        shift -= 1
        for entry in old where entry != Self.empty { place(entry) }
    }
}
