import Plans

/// Answers for a bound on the bottleneck which drafts keep it: how many layers from the end can s stages on what is free
/// cover. O(S x edges) for each bound, after O(L) for each group, so that a thousand devices take milliseconds.
///
/// It packs the later stages as full as the bound allows and does not look at links or at the sum, so what it finds is a
/// start for `DraftRefinement`. Later stages also have fewer micro-batches in flight, so it fills memory from there.
struct CoverSearch {
    private(set) var costs: SearchCosts
    private let graph: DeviceGraph
    private let layerCount: Int
    private let largestStageCount: Int
    /// The groups of the graph with each of their divisions of the micro-batch, as indices into `seats`.
    private var variants: [[[Int]]] = []
    private var seats: [Seat] = []
    /// The same without repeated seats.
    private var distinct: [[[Int]]] = []
    /// The largest number of micro-batches in flight that the search distinguishes: 1 without budgets.
    private let inFlightLimit: Int
    /// `[recompute][seat][in flight][end]`: the first layer from which the layers up to an end fit.
    private var memoryReach: [[[Int32]]] = []
    /// `[recompute][seat][in flight][end]` at the present bound.
    private var seatReach: [[[Int32]]] = []
    /// `[group][in flight][end]`: the best of a group's variants.
    private var reach: [Int32] = []
    // The graph's edges in one row: where each node's begin, where they lead, where their group's reach begins.
    private var edgeStarts = [0]
    private var edgeTargets: [Int] = []
    private var edgeReaches: [Int] = []
    /// `[stages][node]`: the first layer that is covered from the end, and by which edge; -1 for a skipped device.
    private var cover: [Int32]
    private var choice: [Int32]
    /// Up to how many stages the last run went.
    private(set) var completed = 0

    init(_ costs: SearchCosts, graph: DeviceGraph, stageCount: Int, evenShares: Bool) {
        self.costs = costs
        self.graph = graph
        layerCount = costs.layerCount
        largestStageCount = stageCount
        let hasBudgets = costs.kinds.budgets.contains { $0 < .max }
        inFlightLimit = hasBudgets ? min(costs.microBatchCount, stageCount) : 1
        cover = Array(repeating: Int32(costs.layerCount), count: (stageCount + 1) * graph.edges.count)
        choice = Array(repeating: -1, count: cover.count)
        var indices: [Seat: Int] = [:]
        for group in graph.groups {
            let even = StagePlan.evenShare(sampleCount: costs.microBatchSize, rankCount: group.count)
            let divisions = evenShares ? [even] : ShareDivision.candidates(for: group, &self.costs)
            variants.append(
                divisions.map { shares in
                    var members: [Int] = []
                    for (kind, share) in zip(group, shares) {
                        let seat = Seat(kind: kind, share: share)
                        if indices[seat] == nil {
                            indices[seat] = seats.count
                            seats.append(seat)
                            self.costs.prepare(seat)
                        }
                        members.append(indices[seat] ?? 0)
                    }
                    return members
                })
        }
        distinct = variants.map { $0.map { members in Set(members).sorted() } }
        reach = Array(repeating: 0, count: graph.groups.count * inFlightLimit * (layerCount + 1))
        for edges in graph.edges {
            edgeTargets += edges.map(\.target)
            edgeReaches += edges.map { $0.group * inFlightLimit * (layerCount + 1) }
            edgeStarts.append(edgeTargets.count)
        }
        if hasBudgets {
            memoryReach = (costs.recomputeAllowed ? [false, true] : [false]).map { recompute in
                seats.map { seat in memoryReach(seat, recompute: recompute) }
            }
        }
    }

    private func memoryReach(_ seat: Seat, recompute: Bool) -> [Int32] {
        var table: [Int32] = []
        for parts in 1...inFlightLimit {
            var first = layerCount
            var row = [Int32](repeating: 0, count: layerCount + 1)
            for end in stride(from: layerCount, to: 0, by: -1) {
                first = min(first, end)
                while first > 0,
                    costs.fits(first - 1..<end, [seat], partsFromEnd: parts, recompute: recompute)
                {
                    first -= 1
                }
                row[end] = Int32(first)
            }
            table += row
        }
        return table
    }

    /// The first layer from which a seat keeps the bound, for each end.
    private func timeReach(_ seat: Seat, bound: Double, recompute: Bool) -> [Int32] {
        var row = [Int32](repeating: 0, count: layerCount + 1)
        var first = layerCount
        for end in stride(from: layerCount, to: 0, by: -1) {
            first = min(first, end)
            while first > 0, costs.seconds(seat, first - 1..<end, recompute: recompute) <= bound {
                first -= 1
            }
            row[end] = Int32(first)
        }
        return row
    }

    /// `[recompute][seat][in flight][end]`: both limits together.
    private func allSeatReach(bound: Double) -> [[[Int32]]] {
        guard !memoryReach.isEmpty else {
            return [seats.map { timeReach($0, bound: bound, recompute: false) }]
        }
        return memoryReach.indices.map { mode in
            seats.indices.map { seat in
                let time = timeReach(seats[seat], bound: bound, recompute: mode == 1)
                var table = memoryReach[mode][seat]
                for index in table.indices {
                    table[index] = max(table[index], time[index % (layerCount + 1)])
                }
                return table
            }
        }
    }

    /// The best reach of a group's variants and the variant that has it.
    private mutating func fillReach(_ table: [[[Int32]]]) {
        let width = inFlightLimit * (layerCount + 1)
        var row = [Int32](repeating: 0, count: width)
        for group in variants.indices {
            let offset = group * width
            var isFirst = true
            for members in distinct[group] {
                for mode in table.indices {
                    for (position, member) in members.enumerated() {
                        let seat = table[mode][member]
                        for index in 0..<width {
                            row[index] = position == 0 ? seat[index] : max(row[index], seat[index])
                        }
                    }
                    for index in 0..<width {
                        reach[offset + index] =
                            isFirst ? row[index] : min(reach[offset + index], row[index])
                    }
                    isFirst = false
                }
            }
        }
    }

    /// More than any stage can take, if more samples never take less time.
    mutating func largestSeconds() -> Double {
        (0..<costs.kinds.count).reduce(0) { worst, kind in
            let seat = Seat(kind: kind, share: costs.microBatchSize)
            costs.prepare(seat)
            return max(worst, costs.seconds(seat, 0..<layerCount, recompute: costs.recomputeAllowed))
        }
    }

    /// Makes the costs ready to price a draft.
    mutating func prepare(_ draft: Draft) {
        for seat in draft.groups.joined() { costs.prepare(seat) }
    }

    /// Covers as much as the bound allows; the result is the least number of stages that cover the model, or nil.
    ///
    /// - Parameter extra: how many more levels to fill beyond the least number of stages.
    mutating func run(bound: Double, extra: Int) -> Int? {
        seatReach = allSeatReach(bound: bound)
        fillReach(seatReach)
        let nodeCount = graph.edges.count
        let none = Int32(layerCount + 1)
        for node in 0..<nodeCount { cover[node] = graph.isEnd[node] ? Int32(layerCount) : none }
        var least: Int?
        completed = 0
        for parts in 1...largestStageCount {
            if let least, parts > least + extra { break }
            let row = (min(parts, inFlightLimit) - 1) * (layerCount + 1)
            let (above, here) = ((parts - 1) * nodeCount, parts * nodeCount)
            var isFarther = false
            for node in stride(from: nodeCount - 1, through: 0, by: -1) {
                var best = none
                var chosen: Int32 = -1
                if graph.canSkip, node + 1 < nodeCount { best = cover[here + node + 1] }
                for index in edgeStarts[node]..<edgeStarts[node + 1] {
                    // A suffix that covers everything leaves its first layer to what stands before it.
                    let end = max(cover[above + edgeTargets[index]], 1)
                    guard end < none else { continue }
                    let first = reach[edgeReaches[index] + row + Int(end)]
                    if first < best && first < end {
                        (best, chosen) = (first, Int32(index - edgeStarts[node]))
                    }
                }
                if best < cover[above + node] { isFarther = true }
                cover[here + node] = best
                choice[here + node] = chosen
            }
            completed = parts
            if cover[here + graph.start] == 0, least == nil { least = parts }
            if least == nil && !isFarther { break }
        }
        return least
    }

    /// The draft with so many stages that the last run found; nil when they do not cover the model.
    func draft(stageCount: Int) -> Draft? {
        let nodeCount = graph.edges.count
        guard stageCount <= completed, cover[stageCount * nodeCount + graph.start] == 0 else { return nil }
        var draft = Draft(bounds: [0], groups: [])
        var node = graph.start
        var free = costs.kinds.ranks.map(\.count)
        for parts in stride(from: stageCount, to: 0, by: -1) {
            while choice[parts * nodeCount + node] < 0 { node += 1 }
            let edge = graph.edges[node][Int(choice[parts * nodeCount + node])]
            let suffix = Int(cover[(parts - 1) * nodeCount + edge.target])
            // What was covered more than once goes to the front, a layer for each stage.
            let least = draft.bounds[draft.bounds.count - 1] + 1
            draft.bounds.append(min(max(suffix, least), layerCount - (parts - 1)))
            draft.groups.append(
                variant(edge.group, parts, end: max(suffix, 1)).map { member in
                    let kinds = graph.members[seats[member].kind]
                    let kind = kinds.first { free[$0] > 0 } ?? kinds[0]
                    free[kind] -= 1
                    return Seat(kind: kind, share: seats[member].share)
                })
            node = edge.target
        }
        return draft
    }

    /// The variant of a group that reaches farthest at the last run's bound, as indices into `seats`.
    private func variant(_ group: Int, _ parts: Int, end: Int) -> [Int] {
        guard variants[group].count > 1 else { return variants[group][0] }
        let row = (min(parts, inFlightLimit) - 1) * (layerCount + 1) + end
        let wanted = reach[group * inFlightLimit * (layerCount + 1) + row]
        let index = distinct[group].firstIndex { members in
            seatReach.contains { mode in (members.map { mode[$0][row] }.max() ?? 0) == wanted }
        }
        return variants[group][index ?? 0]
    }
}
