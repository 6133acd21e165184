import Plans

/// The devices that a plan may use, in classes that can be exchanged for one another without changing any cost.
///
/// Two devices are of one kind when their times and budgets are equal and so are their links to every other device. Links
/// between kinds are then a property of the kinds. Every search counts devices of a kind instead of naming them, which is
/// what makes 8 devices of two kinds 25 states instead of 256.
struct DeviceKinds {
    /// Ranks of each kind, in the given order.
    private(set) var ranks: [[Int]] = []
    /// The kind of each entry of the given order.
    private(set) var kinds: [Int] = []
    /// Bytes that training may use, `Int.max` for no limit.
    let budgets: [Int]
    // Between kinds, and within a kind of several devices.
    private let latency: [Double]
    private let bandwidth: [Double]

    var count: Int { ranks.count }

    init(profile: Profile, ranks order: [Int]) {
        var ranks: [[Int]] = []
        for rank in order {
            let kind =
                ranks.firstIndex { Self.areExchangeable($0[0], rank, profile, order) } ?? ranks.count
            if kind == ranks.count { ranks.append([]) }
            ranks[kind].append(rank)
            kinds.append(kind)
        }
        let count = ranks.count
        var latency = [Double](repeating: 0, count: count * count)
        var bandwidth = [Double](repeating: .infinity, count: count * count)
        for a in 0..<count {
            for b in 0..<count where a != b || ranks[a].count > 1 {
                let link = profile.link(ranks[a][0], a == b ? ranks[b][1] : ranks[b][0])
                latency[a * count + b] = link.latencySeconds
                bandwidth[a * count + b] = link.bandwidth
            }
        }
        self.ranks = ranks
        budgets = ranks.map { profile.devices[$0[0]].memoryBudgetBytes ?? .max }
        self.latency = latency
        self.bandwidth = bandwidth
    }

    private static func areExchangeable(_ a: Int, _ b: Int, _ profile: Profile, _ order: [Int]) -> Bool {
        let (x, y) = (profile.devices[a], profile.devices[b])
        guard
            x.memoryBudgetBytes == y.memoryBudgetBytes && x.microBatchSizes == y.microBatchSizes
                && x.layers == y.layers
        else { return false }
        return order.allSatisfy { other in
            guard other != a && other != b else { return true }
            let (p, q) = (profile.link(a, other), profile.link(b, other))
            return p.bandwidth == q.bandwidth && p.latencySeconds == q.latencySeconds
        }
    }

    /// Seconds to move some bytes from a device of one kind to another device.
    func linkSeconds(_ a: Int, _ b: Int, bytes: Double) -> Double {
        latency[a * count + b] + bytes / bandwidth[a * count + b]
    }

    /// The least seconds between any two devices.
    func leastLinkSeconds(bytes: Double) -> Double {
        var least = Double.infinity
        for a in 0..<count {
            for b in a..<count where a != b || ranks[a].count > 1 {
                least = min(least, linkSeconds(a, b, bytes: bytes))
            }
        }
        return least
    }

    /// Kinds joined into classes whose devices differ by at most a tolerance in speed and budget: the class of each kind.
    ///
    /// Measured devices are never equal to the last digit; a search by class treats them as if they were.
    func classes(profile: Profile, tolerance: Double) -> [Int] {
        let seconds = ranks.map { ranks in
            profile.layers.indices.reduce(0.0) {
                $0 + profile.forwardSeconds(device: ranks[0], layer: $1, samples: 1)
                    + profile.backwardSeconds(device: ranks[0], layer: $1, samples: 1)
            }
        }
        func isNear(_ a: Double, _ b: Double) -> Bool { abs(a - b) <= tolerance * max(a, b) }
        var first: [Int] = []
        return (0..<count).map { kind in
            let found = first.firstIndex {
                isNear(seconds[$0], seconds[kind]) && isNear(Double(budgets[$0]), Double(budgets[kind]))
            }
            if let found { return found }
            first.append(kind)
            return first.count - 1
        }
    }
}

/// One device of a stage group, by its kind, and its samples of each micro-batch.
struct Seat: Hashable {
    var kind: Int
    var share: Int
}

/// A plan before its kinds get ranks: stage i holds layers `bounds[i]..<bounds[i + 1]` on `groups[i]`.
struct Draft {
    var bounds: [Int]
    var groups: [[Seat]]

    var stageCount: Int { groups.count }
}
