import Plans

/// T of eq. (3) for every run of layers on every run of devices, at one micro-batch size split evenly.
struct StageTable {
    private let costs: StageCosts
    private let ranks: [Int]
    private let layerCount: Int
    /// Shares of the first `count` devices of a group of `count`.
    let shares: [[Int]]
    /// Sizes that a group can have, as every rank is used.
    let groupSizes: ClosedRange<Int>
    private let recompute: Bool
    private let microBatch: (size: Int, count: Int)
    private var seconds: [Double]
    /// The most micro-batches in flight that fit every device's budget, up to the number of devices.
    private var inFlightLimit: [Int]

    /// Whether the tables of a recursion over such numbers stay within some hundred megabytes.
    static func isBuildable(layerCount: Int, deviceCount: Int, stageCounts: ClosedRange<Int>) -> Bool {
        let sizes = groupSizes(deviceCount, stageCounts)
        let perLayer = Double(layerCount) * Double(deviceCount) * Double(sizes.count)
        return perLayer * Double(max(layerCount, stageCounts.upperBound)) <= 1e7
    }

    private static func groupSizes(_ deviceCount: Int, _ stageCounts: ClosedRange<Int>) -> ClosedRange<Int> {
        let largest = deviceCount - stageCounts.lowerBound + 1
        return (stageCounts.upperBound == 1 ? largest : 1)...largest
    }

    /// - Parameters:
    ///   - stageCounts: the numbers of stages that will be asked for.
    ///   - recompute: whether stages recompute where that takes less memory; times are always those without.
    init(
        costs: StageCosts, ranks: [Int], microBatch: (size: Int, count: Int), stageCounts: ClosedRange<Int>,
        recompute: Bool = false
    ) {
        self.microBatch = microBatch
        self.costs = costs
        self.ranks = ranks
        layerCount = costs.profile.layers.count
        shares = (0...ranks.count).map {
            $0 == 0 ? [] : StagePlan.evenShare(sampleCount: microBatch.size, rankCount: $0)
        }
        groupSizes = Self.groupSizes(ranks.count, stageCounts)
        self.recompute = recompute
        let size = layerCount * (layerCount + 1) * ranks.count * groupSizes.count
        seconds = Array(repeating: 0, count: size)
        inFlightLimit = Array(repeating: 0, count: size)
        for first in ranks.indices {
            for end in first + 1...ranks.count where groupSizes.contains(end - first) { fill(first..<end) }
        }
    }

    private mutating func fill(_ devices: Range<Int>) {
        let profile = costs.profile
        let share = shares[devices.count]
        for (device, samples) in zip(devices, share) {
            let rank = ranks[device]
            let budget = profile.devices[rank].memoryBudgetBytes
            let times = (0..<layerCount).map { layer in
                (
                    profile.forwardSeconds(device: rank, layer: layer, samples: Double(samples)),
                    profile.backwardSeconds(device: rank, layer: layer, samples: Double(samples))
                )
            }
            for first in 0..<layerCount {
                // Summed in the order of `StageCosts.prediction`, so that both give the same number to the last bit.
                var (forward, backward) = (0.0, 0.0)
                for last in first..<layerCount {
                    forward += times[last].0
                    backward += times[last].1
                    let entry = index(first..<last + 1, devices)
                    seconds[entry] = max(seconds[entry], forward + backward)
                    var limit =
                        device == devices.lowerBound
                        ? costs.schedule.inFlightCount(
                            stagesToEnd: ranks.count, microBatchCount: microBatch.count)
                        : inFlightLimit[entry]
                    if let budget {
                        while limit > 0,
                            costs.peakBytes(
                                layers: first..<last + 1, share: samples, inFlightCount: limit,
                                microBatch: microBatch) > budget
                        {
                            limit -= 1
                        }
                    }
                    inFlightLimit[entry] = limit
                }
            }
        }
    }

    private func index(_ layers: Range<Int>, _ devices: Range<Int>) -> Int {
        ((layers.lowerBound * (layerCount + 1) + layers.upperBound) * ranks.count + devices.lowerBound)
            * groupSizes.count + devices.count - groupSizes.lowerBound
    }

    /// T of eq. (3), infinity when a device's budget is exceeded with so many micro-batches in flight.
    func microBatchSeconds(_ layers: Range<Int>, _ devices: Range<Int>, inFlightCount: Int) -> Double {
        let entry = index(layers, devices)
        return inFlightCount <= inFlightLimit[entry] ? seconds[entry] : .infinity
    }

    /// Bytes by which the device that is worst off exceeds its budget; 0 when all fit.
    func excessBytes(_ layers: Range<Int>, _ devices: Range<Int>, inFlightCount: Int) -> Double {
        zip(devices, shares[devices.count]).reduce(0.0) { worst, pair in
            guard let budget = costs.profile.devices[ranks[pair.0]].memoryBudgetBytes else { return worst }
            return max(worst, Double(peakBytes(layers, pair.1, inFlightCount).bytes - budget))
        }
    }

    private func peakBytes(_ layers: Range<Int>, _ share: Int, _ inFlightCount: Int) -> (
        bytes: Int, recompute: Bool
    ) {
        let plain = costs.peakBytes(
            layers: layers, share: share, inFlightCount: inFlightCount, microBatch: microBatch)
        guard recompute else { return (plain, false) }
        let recomputed = costs.peakBytes(
            layers: layers, share: share, inFlightCount: inFlightCount, recompute: true,
            microBatch: microBatch)
        return recomputed < plain ? (recomputed, true) : (plain, false)
    }

    /// c_f + c_b for the boundary before `layer`, from one run of devices to the next.
    func linkSeconds(before layer: Int, _ from: Range<Int>, _ to: Range<Int>) -> Double {
        func seconds(_ bytesPerSample: Double) -> Double {
            costs.transferSeconds(
                bytesPerSample: bytesPerSample, ranks[from], shares[from.count][...], ranks[to],
                shares[to.count][...])
        }
        return seconds(costs.profile.forwardBytesPerSample(after: layer - 1))
            + seconds(costs.profile.backwardBytesPerSample(after: layer - 1))
    }

    func plan(_ parts: [PartitionRecursion.Part], microBatchCount: Int) -> Plan {
        let stages = parts.enumerated().map { index, part in
            let share = shares[part.devices.count]
            let inFlightCount = costs.schedule.inFlightCount(
                stage: index, stageCount: parts.count, microBatchCount: microBatchCount)
            return StagePlan(
                layers: part.layers, ranks: Array(ranks[part.devices]), share: share,
                recompute: peakBytes(part.layers, share[0], inFlightCount).recompute)
        }
        return Plan(stages: stages, microBatchCount: microBatchCount)
    }
}
