import Plans

/// Improves a draft by small changes. A change is kept if it makes F smaller; the search ends when none does, or when its
/// allowance is spent.
struct DraftRefinement {
    /// What may change.
    struct Freedom {
        /// Which devices stand where, and whether they take part.
        var devices = true
        /// The samples of each device of a group.
        var shares = true
    }

    private(set) var costs: SearchCosts
    let freedom: Freedom
    /// Stages that may still be priced.
    private var allowance: Int
    private var best: Draft
    private(set) var step: Double

    private static let widestBlock = 8

    /// - Parameter step: the draft's F.
    init(_ draft: Draft, step: Double, costs: SearchCosts, freedom: Freedom, allowance: Int) {
        self.costs = costs
        self.freedom = freedom
        self.allowance = allowance
        best = draft
        self.step = step
    }

    /// The draft that no small change improves, or the last when the allowance is spent.
    mutating func run() -> Draft {
        var isDone = false
        while !isDone && allowance > 0 {
            isDone = !moveBounds()
            if freedom.shares, moveSamples() { isDone = false }
            if freedom.devices, isDone, changeDevices() { isDone = false }
        }
        return best
    }

    private mutating func keepIfBetter(_ draft: Draft) -> Bool {
        guard allowance > 0 else { return false }
        allowance -= draft.stageCount
        let step = costs.step(draft)
        guard step < self.step * (1 - 1e-12) else { return false }
        best = draft
        self.step = step
        return true
    }

    /// Shifts neighbouring boundaries together by one layer: a layer wanders from one stage to another through those
    /// between.
    private mutating func moveBounds() -> Bool {
        var improved = false
        for first in 1..<max(best.stageCount, 1) {
            for last in first..<min(best.stageCount, first + Self.widestBlock) {
                for shift in [-1, 1] {
                    // As long as it helps.
                    while true {
                        var draft = best
                        for index in first...last { draft.bounds[index] += shift }
                        guard
                            draft.bounds[first - 1] < draft.bounds[first],
                            draft.bounds[last] < draft.bounds[last + 1], keepIfBetter(draft)
                        else { break }
                        improved = true
                    }
                }
            }
        }
        return improved
    }

    private mutating func moveSamples() -> Bool {
        var improved = false
        for group in best.groups.indices where best.groups[group].count > 1 {
            for from in best.groups[group].indices {
                for to in best.groups[group].indices where to != from {
                    while best.groups[group][from].share > 1 {
                        var draft = best
                        draft.groups[group][from].share -= 1
                        draft.groups[group][to].share += 1
                        costs.prepare(draft.groups[group][from])
                        costs.prepare(draft.groups[group][to])
                        guard keepIfBetter(draft) else { break }
                        improved = true
                    }
                }
            }
        }
        return improved
    }

    private mutating func changeDevices() -> Bool {
        var free = costs.kinds.ranks.map(\.count)
        for seat in best.groups.joined() { free[seat.kind] -= 1 }
        let groups = best.groups.map { $0.map(\.kind) }
        var isImproved = false
        func isOpen() -> Bool { !isImproved }
        for a in groups.indices {
            for i in groups[a].indices {
                // Out, or into another group.
                if groups[a].count > 1 {
                    var without = groups
                    without[a].remove(at: i)
                    if isOpen() { isImproved = tryGroups(without, [a]) }
                    for b in groups.indices where b != a && isOpen() {
                        var moved = without
                        moved[b].append(groups[a][i])
                        isImproved = tryGroups(moved, [a, b])
                    }
                }
                // Exchanged for a free one, or for one of another group or place.
                for kind in free.indices where free[kind] > 0 && kind != groups[a][i] && isOpen() {
                    var replaced = groups
                    replaced[a][i] = kind
                    isImproved = tryGroups(replaced, [a])
                }
                for b in a..<groups.count {
                    for j in groups[b].indices
                    where (a, i) < (b, j) && groups[a][i] != groups[b][j] && isOpen() {
                        var swapped = groups
                        swapped[a][i] = groups[b][j]
                        swapped[b][j] = groups[a][i]
                        isImproved = tryGroups(swapped, a == b ? [a] : [a, b])
                    }
                }
            }
            for kind in free.indices where free[kind] > 0 && isOpen() {
                var added = groups
                added[a].append(kind)
                isImproved = tryGroups(added, [a])
            }
        }
        return isImproved
    }

    /// Gives the changed groups new shares for the layers that they hold now.
    private mutating func tryGroups(_ groups: [[Int]], _ changed: [Int]) -> Bool {
        guard allowance > 0 else { return false }
        var draft = best
        for index in changed {
            guard groups[index].count <= costs.microBatchSize else { return false }
            let layers = draft.bounds[index]..<draft.bounds[index + 1]
            let shares =
                freedom.shares
                ? ShareDivision.balanced(groups[index], layers, &costs)
                : StagePlan.evenShare(sampleCount: costs.microBatchSize, rankCount: groups[index].count)
            draft.groups[index] = zip(groups[index], shares).map { Seat(kind: $0, share: $1) }
            for seat in draft.groups[index] { costs.prepare(seat) }
        }
        return keepIfBetter(draft)
    }
}
