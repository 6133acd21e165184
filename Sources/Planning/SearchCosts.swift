import Plans

/// The costs of `StageCosts` prepared for a search at one micro-batch count: the same numbers up to rounding, from sums
/// over layers instead of loops over them.
struct SearchCosts {
    /// What one stage costs without its links.
    struct Stage {
        var forward = 0.0
        var backward = 0.0
        /// T of eq. (3).
        var both = 0.0
        var allReduce = 0.0
        var recompute = false
    }

    let costs: StageCosts
    let kinds: DeviceKinds
    let microBatchCount: Int
    let microBatchSize: Int
    let layerCount: Int
    let recomputeAllowed: Bool
    /// Where the sums of a kind and share begin in `forward` and `backward`; -1 before `prepare`.
    private var offsets: [Int]
    private var forward: [Double] = []
    private var backward: [Double] = []
    private let forwardBytes: [Double]
    private let backwardBytes: [Double]

    init(
        costs: StageCosts, kinds: DeviceKinds, microBatchCount: Int, microBatchSize: Int,
        recomputeAllowed: Bool
    ) {
        self.costs = costs
        self.kinds = kinds
        self.microBatchCount = microBatchCount
        self.microBatchSize = microBatchSize
        self.recomputeAllowed = recomputeAllowed
        layerCount = costs.profile.layers.count
        offsets = Array(repeating: -1, count: kinds.count * (microBatchSize + 1))
        forwardBytes = (0..<layerCount).map(costs.profile.forwardBytesPerSample)
        backwardBytes = (0..<layerCount).map(costs.profile.backwardBytesPerSample)
    }

    /// Makes the times of a kind at a share ready, as `stage` and `seconds` need them.
    mutating func prepare(_ seat: Seat) {
        let index = seat.kind * (microBatchSize + 1) + seat.share
        guard offsets[index] < 0 else { return }
        offsets[index] = forward.count
        let rank = kinds.ranks[seat.kind][0]
        var (forwardSum, backwardSum) = (0.0, 0.0)
        forward.append(0)
        backward.append(0)
        for layer in 0..<layerCount {
            let samples = Double(seat.share)
            forwardSum += costs.profile.forwardSeconds(device: rank, layer: layer, samples: samples)
            backwardSum += costs.profile.backwardSeconds(device: rank, layer: layer, samples: samples)
            forward.append(forwardSum)
            backward.append(backwardSum)
        }
    }

    private func offset(_ seat: Seat) -> Int { offsets[seat.kind * (microBatchSize + 1) + seat.share] }

    /// Forward and backward of a prepared seat over some layers, with a second forward when it recomputes.
    func seconds(_ seat: Seat, _ layers: Range<Int>, recompute: Bool = false) -> Double {
        let (first, end) = (offset(seat) + layers.lowerBound, offset(seat) + layers.upperBound)
        let forward = forward[end] - forward[first]
        return forward * (recompute ? 2 : 1) + backward[end] - backward[first]
    }

    /// What a stage of prepared seats costs as the k-th part from the end; nil when it does not fit a budget.
    ///
    /// It recomputes only where it would not fit otherwise: F never falls when a stage takes longer.
    func stage(_ layers: Range<Int>, _ seats: [Seat], partsFromEnd: Int) -> Stage? {
        var stage = Stage()
        if !fits(layers, seats, partsFromEnd: partsFromEnd, recompute: false) {
            guard recomputeAllowed, fits(layers, seats, partsFromEnd: partsFromEnd, recompute: true) else {
                return nil
            }
            stage.recompute = true
        }
        for (index, seat) in seats.enumerated() where index == 0 || seat != seats[index - 1] {
            let (first, end) = (offset(seat) + layers.lowerBound, offset(seat) + layers.upperBound)
            let forward = forward[end] - forward[first]
            let backward = backward[end] - backward[first] + (stage.recompute ? forward : 0)
            stage.forward = max(stage.forward, forward)
            stage.backward = max(stage.backward, backward)
            stage.both = max(stage.both, forward + backward)
        }
        stage.allReduce = allReduceSeconds(layers, seats)
        return stage
    }

    func fits(_ layers: Range<Int>, _ seats: [Seat], partsFromEnd: Int, recompute: Bool) -> Bool {
        for (index, seat) in seats.enumerated() where index == 0 || seat != seats[index - 1] {
            let budget = kinds.budgets[seat.kind]
            if budget < .max,
                costs.peakBytes(
                    layers: layers, share: seat.share,
                    inFlightCount: costs.schedule.inFlightCount(
                        stagesToEnd: partsFromEnd, microBatchCount: microBatchCount),
                    recompute: recompute, microBatch: (microBatchSize, microBatchCount)) > budget
            {
                return false
            }
        }
        return true
    }

    private func allReduceSeconds(_ layers: Range<Int>, _ seats: [Seat]) -> Double {
        let bytes = costs.trainableBytes(layers)
        guard seats.count > 1, bytes > 0 else { return 0 }
        let part = Double(bytes) / Double(seats.count)
        var worst = 0.0
        guard kinds.count <= 64 else {
            for a in seats.indices {
                for b in a + 1..<max(seats.count, a + 1) {
                    worst = max(worst, kinds.linkSeconds(seats[a].kind, seats[b].kind, bytes: part))
                }
            }
            return 2 * Double(seats.count - 1) * worst
        }
        // Each pair of kinds once, as sets of bits.
        var (once, twice) = (UInt64(0), UInt64(0))
        for seat in seats {
            twice |= once & (1 << seat.kind)
            once |= 1 << seat.kind
        }
        var rest = once
        while rest != 0 {
            let a = rest.trailingZeroBitCount
            rest &= rest - 1
            var others = rest | (twice & (1 << a))
            while others != 0 {
                worst = max(worst, kinds.linkSeconds(a, others.trailingZeroBitCount, bytes: part))
                others &= others - 1
            }
        }
        return 2 * Double(seats.count - 1) * worst
    }

    /// c_f and c_b for the boundary before `layer`.
    func transferSeconds(before layer: Int, _ a: [Seat], _ b: [Seat]) -> (forward: Double, backward: Double) {
        (
            transferSeconds(bytesPerSample: forwardBytes[layer - 1], a, b),
            transferSeconds(bytesPerSample: backwardBytes[layer - 1], a, b)
        )
    }

    /// `StageCosts.transferSeconds`, walking both sides' rows at once.
    private func transferSeconds(bytesPerSample: Double, _ a: [Seat], _ b: [Seat]) -> Double {
        var (i, j) = (0, 0)
        var (aLeft, bLeft) = (a[0].share, b[0].share)
        var (busyInA, busyInB, busiest) = (0.0, 0.0, 0.0)
        while true {
            let rows = min(aLeft, bLeft)
            let seconds = kinds.linkSeconds(a[i].kind, b[j].kind, bytes: Double(rows) * bytesPerSample)
            busyInA += seconds
            busyInB += seconds
            busiest = max(busiest, busyInA, busyInB)
            aLeft -= rows
            bLeft -= rows
            if aLeft == 0 {
                i += 1
                busyInA = 0
                guard i < a.count else { return busiest }
                aLeft = a[i].share
            }
            if bLeft == 0 {
                j += 1
                busyInB = 0
                guard j < b.count else { return busiest }
                bLeft = b[j].share
            }
        }
    }

    /// A lower bound of c_f + c_b at the boundary before `layer` when no group has more devices than this.
    func leastTransferSeconds(before layer: Int, groupSize: Int) -> Double {
        let rows = Double((microBatchSize + groupSize - 1) / groupSize)
        return kinds.leastLinkSeconds(bytes: rows * forwardBytes[layer - 1])
            + kinds.leastLinkSeconds(bytes: rows * backwardBytes[layer - 1])
    }

    /// F of a draft (`LatencyEstimate.bottleneck`), infinite when a stage does not fit.
    func step(_ draft: Draft) -> Double {
        var (way, backwardWay, allReduceLeft, slowest) = (0.0, 0.0, 0.0, 0.0)
        for index in draft.groups.indices {
            let layers = draft.bounds[index]..<draft.bounds[index + 1]
            guard let stage = stage(layers, draft.groups[index], partsFromEnd: draft.stageCount - index)
            else { return .infinity }
            allReduceLeft = max(allReduceLeft, stage.allReduce - backwardWay)
            way += stage.forward + stage.backward
            backwardWay += stage.backward
            slowest = max(slowest, stage.both)
            if index + 1 < draft.stageCount {
                let link = transferSeconds(
                    before: layers.upperBound, draft.groups[index], draft.groups[index + 1])
                way += link.forward + link.backward
                backwardWay += link.backward
                slowest = max(slowest, link.forward + link.backward)
            }
        }
        return way + Double(microBatchCount - 1) * slowest + allReduceLeft
    }

    /// The draft with ranks: of each kind the first ones that are free.
    func plan(_ draft: Draft) -> Plan {
        var used = [Int](repeating: 0, count: kinds.count)
        let stages = draft.groups.indices.map { index in
            let layers = draft.bounds[index]..<draft.bounds[index + 1]
            let ranks = draft.groups[index].map { seat in
                used[seat.kind] += 1
                return kinds.ranks[seat.kind][used[seat.kind] - 1]
            }
            let partsFromEnd = draft.stageCount - index
            return StagePlan(
                layers: layers, ranks: ranks, share: draft.groups[index].map(\.share),
                recompute: !fits(
                    layers, draft.groups[index], partsFromEnd: partsFromEnd, recompute: false))
        }
        return Plan(stages: stages, microBatchCount: microBatchCount)
    }
}
