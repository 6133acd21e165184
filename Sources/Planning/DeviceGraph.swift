import Plans

/// What can be put on devices, step by step: a node is what is still free, an edge takes a group of them for one stage.
///
/// Devices stand in it as classes (`DeviceKinds.classes`), each with a kind that speaks for it.
struct DeviceGraph {
    struct Edge {
        /// Index into `groups`.
        var group: Int
        var target: Int
    }

    /// Kinds of the devices of each group, in order.
    private(set) var groups: [[Int]] = []
    /// Edges of each node, smaller groups first.
    private(set) var edges: [[Edge]] = []
    let start: Int
    /// Whether a node may leave its first device out, which leads to the next node.
    let canSkip: Bool
    /// Whether devices may be left over in a node.
    let isEnd: [Bool]
    /// The kinds that stand behind each kind that speaks for a class; empty for the others.
    let members: [[Int]]

    private static let largestEdgeCount = 30_000
    private static let largestGroupCount = 1_200

    private struct Classes {
        var ofKind: [Int]
        /// The kind with the least memory, and the slowest of those.
        var speakers: [Int]

        init(_ kinds: DeviceKinds, _ profile: Profile, tolerance: Double) {
            let classes = kinds.classes(profile: profile, tolerance: tolerance)
            ofKind = classes
            speakers = (0..<(classes.max() ?? 0) + 1).map { index in
                let members = classes.indices.filter { classes[$0] == index }
                return members.min { kinds.budgets[$0] < kinds.budgets[$1] } ?? 0
            }
        }

        var members: [[Int]] {
            var members = [[Int]](repeating: [], count: ofKind.count)
            for (kind, index) in ofKind.enumerated() { members[speakers[index]].append(kind) }
            return members
        }
    }

    /// Every order and subset of the devices, by counting devices of a class; nil when that is too much at this tolerance.
    init?(anyOrder kinds: DeviceKinds, profile: Profile, tolerance: Double, groupSizeLimit: Int) {
        let classes = Classes(kinds, profile, tolerance: tolerance)
        var counts = [Int](repeating: 0, count: classes.speakers.count)
        for kind in kinds.kinds { counts[classes.ofKind[kind]] += 1 }
        // Each pair of a node and a sub-count of it: the product of triangular numbers.
        let edgeCount = counts.reduce(1.0) { $0 * Double(($1 + 1) * ($1 + 2) / 2) }
        guard edgeCount <= Double(Self.largestEdgeCount) else { return nil }
        let weights = counts.indices.map { counts[..<$0].reduce(1) { $0 * ($1 + 1) } }
        let nodeCount = counts.reduce(1) { $0 * ($1 + 1) }
        let nodes = (0..<nodeCount).map { node in
            counts.indices.map { node / weights[$0] % (counts[$0] + 1) }
        }
        var groupOfNode = [Int](repeating: -1, count: nodeCount)
        let sizes = nodes.map { $0.reduce(0, +) }
        let bySize = (1..<max(nodeCount, 1)).filter { sizes[$0] <= groupSizeLimit }.sorted {
            (sizes[$0], $0) < (sizes[$1], $1)
        }
        for node in bySize {
            groupOfNode[node] = groups.count
            groups.append(
                nodes[node].enumerated().flatMap { Array(repeating: classes.speakers[$0], count: $1) })
        }
        edges = nodes.indices.map { node in
            bySize.filter { use in zip(nodes[node], nodes[use]).allSatisfy { $0 >= $1 } }.map {
                Edge(group: groupOfNode[$0], target: node - $0)
            }
        }
        start = nodeCount - 1
        canSkip = false
        isEnd = Array(repeating: true, count: nodeCount)
        members = classes.members
    }

    /// Runs of consecutive devices of one order; groups stay small enough for their number to stay bounded.
    init(
        order: [Int], kinds: DeviceKinds, profile: Profile, tolerance: Double, groupSizeLimit: Int,
        useAll: Bool
    ) {
        let classes = Classes(kinds, profile, tolerance: tolerance)
        let speakers = order.map { classes.speakers[classes.ofKind[$0]] }
        var edges = [[Edge]](repeating: [], count: order.count + 1)
        var groups: [[Int]] = []
        var indices: [[Int]: Int] = [:]
        var size = 1
        while size <= min(groupSizeLimit, order.count), useAll || groups.count < Self.largestGroupCount {
            for first in 0...order.count - size {
                let group = Array(speakers[first..<first + size])
                let index = indices[group] ?? groups.count
                if index == groups.count {
                    groups.append(group)
                    indices[group] = index
                }
                edges[first].append(Edge(group: index, target: first + size))
            }
            // Of many devices, groups in steps of an eighth.
            size += order.count > 64 ? max(1, size / 8) : 1
        }
        self.groups = groups
        self.edges = edges
        start = 0
        canSkip = !useAll
        isEnd = (0...order.count).map { !useAll || $0 == order.count }
        members = classes.members
    }
}
