import Plans
import Support

/// Improves a draft by simulated annealing: random changes; at first it sometimes keeps a worse one. Where devices and
/// links differ much, it finds plans that no single improvement leads to. The same draft gives the same answer.
struct DraftAnnealing {
    private(set) var costs: SearchCosts
    private let freedom: DraftRefinement.Freedom
    private let random = CounterRandom(0)
    private var position: UInt64 = 0
    private var present: Draft
    private(set) var best: Draft
    /// F of `best`.
    private(set) var step: Double

    /// How much slower a change may make the present draft in the beginning.
    private static let warmth = 0.05

    init(_ draft: Draft, step: Double, costs: SearchCosts, freedom: DraftRefinement.Freedom) {
        self.costs = costs
        self.freedom = freedom
        present = draft
        best = draft
        self.step = step
    }

    /// Tries so many changes.
    mutating func run(changeCount: Int) {
        var seconds = step
        for change in 0..<changeCount {
            guard let draft = changed(present) else { continue }
            for seat in draft.groups.joined() { costs.prepare(seat) }
            let next = costs.step(draft)
            let warmth = Self.warmth * (1 - Double(change) / Double(changeCount))
            guard next <= seconds || next < seconds * (1 + warmth * uniform()) else { continue }
            (present, seconds) = (draft, next)
            if next < step { (best, step) = (draft, next) }
        }
    }

    private mutating func uniform() -> Double {
        position += 1
        return random.uniform(at: position)
    }

    private mutating func below(_ count: Int) -> Int { Int(uniform() * Double(count)) }

    /// One random change; nil when what was drawn does not apply.
    private mutating func changed(_ draft: Draft) -> Draft? {
        let (a, b) = (below(draft.stageCount), below(draft.stageCount))
        let (i, j) = (below(draft.groups[a].count), below(draft.groups[b].count))
        switch below(freedom.devices ? 8 : freedom.shares ? 4 : 3) {
        case 0, 1, 2: return moveBound(draft, a)
        case 3: return moveSample(draft, a, i)
        case 4, 5: return exchange(draft, (a, i), (b, j))
        case 6: return regroup(draft, (a, i), (b, j))
        default: return takeFree(draft, (a, i))
        }
    }

    private mutating func moveBound(_ draft: Draft, _ stage: Int) -> Draft? {
        guard stage > 0 else { return nil }
        var draft = draft
        draft.bounds[stage] += [-1, 1, -3, 3][below(4)]
        let isOrdered =
            draft.bounds[stage - 1] < draft.bounds[stage] && draft.bounds[stage] < draft.bounds[stage + 1]
        return isOrdered ? draft : nil
    }

    private mutating func moveSample(_ draft: Draft, _ group: Int, _ from: Int) -> Draft? {
        let to = below(draft.groups[group].count)
        guard freedom.shares, to != from, draft.groups[group][from].share > 1 else { return nil }
        var draft = draft
        draft.groups[group][from].share -= 1
        draft.groups[group][to].share += 1
        return draft
    }

    private func exchange(_ draft: Draft, _ a: (Int, Int), _ b: (Int, Int)) -> Draft? {
        let (x, y) = (draft.groups[a.0][a.1].kind, draft.groups[b.0][b.1].kind)
        guard x != y else { return nil }
        var draft = draft
        draft.groups[a.0][a.1].kind = y
        draft.groups[b.0][b.1].kind = x
        return draft
    }

    /// Takes a device out of its group and, if that is another one, puts it beside one that gives it half of its samples.
    private func regroup(_ draft: Draft, _ a: (Int, Int), _ b: (Int, Int)) -> Draft? {
        guard draft.groups[a.0].count > 1 else { return nil }
        var draft = draft
        let seat = draft.groups[a.0].remove(at: a.1)
        draft.groups[a.0][0].share += seat.share
        if a.0 != b.0, draft.groups[b.0][b.1].share > 1 {
            let half = draft.groups[b.0][b.1].share / 2
            draft.groups[b.0][b.1].share -= half
            draft.groups[b.0].append(Seat(kind: seat.kind, share: half))
        }
        return freedom.shares ? draft : even(draft, [a.0, b.0])
    }

    /// Lets a free device take a sample, or the place, of another.
    private mutating func takeFree(_ draft: Draft, _ a: (Int, Int)) -> Draft? {
        var free = costs.kinds.ranks.map(\.count)
        for seat in draft.groups.joined() { free[seat.kind] -= 1 }
        let kinds = free.indices.filter { free[$0] > 0 }
        guard !kinds.isEmpty else { return nil }
        let kind = kinds[below(kinds.count)]
        var draft = draft
        if draft.groups[a.0][a.1].share > 1, below(2) == 0 {
            draft.groups[a.0][a.1].share -= 1
            draft.groups[a.0].append(Seat(kind: kind, share: 1))
        } else {
            draft.groups[a.0][a.1].kind = kind
        }
        return freedom.shares ? draft : even(draft, [a.0])
    }

    private func even(_ draft: Draft, _ changed: [Int]) -> Draft {
        var draft = draft
        for group in changed {
            let shares = StagePlan.evenShare(
                sampleCount: costs.microBatchSize, rankCount: draft.groups[group].count)
            for (index, share) in shares.enumerated() { draft.groups[group][index].share = share }
        }
        return draft
    }
}
