/// Maps byte strings to ids and walks them byte by byte, so that all keys that begin a text are found in one pass.
///
/// A double array (Aoe 1989): the child of a node by a byte is the unit `base + byte` if that unit names the node as its
/// parent. Keys are bytes because a `String` key would make canonically equivalent tokens equal.
struct ByteTrie: Sendable {
    typealias Node = Int32
    static let root: Node = 0

    private struct Unit {
        var base: Int32 = 0
        var parent: Int32 = Unit.free
        /// The id of the key that ends here, negative when none does.
        var value: Int32 = -1

        static let free: Int32 = -1
        /// Whose child the root is: no node.
        static let none: Int32 = -2
    }

    private var units: [Unit]
    /// No unit before this one is free.
    private var firstFree = 1

    /// A trie of these keys. Of equal keys the last counts; an empty key is left out.
    init(_ entries: [(key: [UInt8], value: Int32)]) {
        units = [Unit(parent: Unit.none)]
        // The sort is stable, so that the last of equal keys stays the last.
        let sorted = entries.filter { !$0.key.isEmpty }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        var pending: [(node: Node, range: Range<Int>, depth: Int)] = [(Self.root, 0..<sorted.count, 0)]
        while let (node, range, depth) = pending.popLast() {
            var children: [(byte: UInt8, range: Range<Int>)] = []
            for index in range {
                let key = sorted[index].key
                if key.count == depth {
                    units[Int(node)].value = sorted[index].value
                } else if let last = children.last, last.byte == key[depth] {
                    children[children.count - 1].range = last.range.lowerBound..<index + 1
                } else {
                    children.append((key[depth], index..<index + 1))
                }
            }
            guard !children.isEmpty else { continue }
            let base = place(children.map(\.byte), under: node)
            for child in children { pending.append((Node(base + Int(child.byte)), child.range, depth + 1)) }
        }
    }

    /// Takes free units for the children of a node, the first place where all fit, and returns the node's new base.
    private mutating func place(_ bytes: [UInt8], under node: Node) -> Int {
        while firstFree < units.count, units[firstFree].parent != Unit.free { firstFree += 1 }
        var first = firstFree
        while !fits(bytes, base: first - Int(bytes[0])) { first += 1 }
        let base = first - Int(bytes[0])
        for byte in bytes {
            let index = base + Int(byte)
            while units.count <= index { units.append(Unit()) }
            units[index].parent = node
        }
        units[Int(node)].base = Int32(base)
        return base
    }

    private func fits(_ bytes: [UInt8], base: Int) -> Bool {
        bytes.allSatisfy { base + Int($0) >= units.count || units[base + Int($0)].parent == Unit.free }
    }

    /// The node one byte further, nil when no key goes there.
    @inline(__always)
    func child(of node: Node, _ byte: UInt8) -> Node? {
        let index = Int(units[Int(node)].base) + Int(byte)
        guard units.indices.contains(index), units[index].parent == node else { return nil }
        return Node(truncatingIfNeeded: index)
    }

    /// The id of the key that ends at a node, negative when none does.
    @inline(__always)
    func value(at node: Node) -> Int32 { units[Int(node)].value }

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
}
