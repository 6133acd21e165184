/// T of eq. (3) for every run of layers on every run of devices, at one micro-batch size split evenly.
struct StageTable {
    private let costs: StageCosts
    private let ranks: [Int]
    private let layerCount: Int
    /// Shares of the first `count` devices of a group of `count`.
    let shares: [[Int]]
    private var seconds: [Double]
    /// The most micro-batches in flight that fit every device's budget, up to the number of devices.
    private var inFlightLimit: [Int]

    init(costs: StageCosts, ranks: [Int], microBatchSize: Int) {
        self.costs = costs
        self.ranks = ranks
        layerCount = costs.profile.layers.count
        shares = (0...ranks.count).map {
            $0 == 0 ? [] : StagePlan.evenShare(sampleCount: microBatchSize, rankCount: $0)
        }
        let size = layerCount * (layerCount + 1) * ranks.count * (ranks.count + 1)
        seconds = Array(repeating: 0, count: size)
        inFlightLimit = Array(repeating: 0, count: size)
        for first in ranks.indices {
            for end in first + 1...ranks.count { fill(first..<end) }
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
                    var limit = device == devices.lowerBound ? ranks.count : inFlightLimit[entry]
                    if let budget {
                        while limit > 0,
                            costs.peakBytes(layers: first..<last + 1, share: samples, inFlightCount: limit)
                                > budget
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
            * (ranks.count + 1) + devices.count
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
            let bytes = costs.peakBytes(layers: layers, share: pair.1, inFlightCount: inFlightCount)
            return max(worst, Double(bytes - budget))
        }
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
        Plan(
            stages: parts.map {
                StagePlan(layers: $0.layers, ranks: Array(ranks[$0.devices]), share: shares[$0.devices.count])
            }, microBatchCount: microBatchCount)
    }
}
