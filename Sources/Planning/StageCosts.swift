/// The cost model: what a stage costs in time and memory according to a profile.
///
/// It knows nothing of how plans are searched, so that every planner, and the pricing of a plan that a person wrote, share it.
public struct StageCosts: Sendable {
    public let profile: Profile
    public let memory: MemoryModel

    // Sums over layers 0..<i, and the largest transient over every range of layers; of layers of a token class.
    private let parameterBytes: [Int]
    private let trainableSums: [Int]
    private let savedBytes: [Profile.TokenClass: [Double]]
    private let heldInputBytes: [Profile.TokenClass: [Double]]
    private let cacheBytes: [Profile.TokenClass: [Double]]
    private let transientBytes: [Profile.TokenClass: [Double]]
    /// For each parameter that several layers hold, which ones do.
    private let shared: [(parameter: LayerProfile.SharedParameter, layers: [Int])]

    public init(profile: Profile, memory: MemoryModel = MemoryModel()) {
        self.profile = profile
        self.memory = memory
        let layers = profile.layers
        parameterBytes = layers.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.parameterBytes) }
        trainableSums = layers.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.trainableBytes) }
        let classes = layers.indices.map(profile.tokenClass)
        func byClass(_ make: ((KeyPath<LayerProfile, Double>, Int) -> Double) -> [Double]) -> [Profile
            .TokenClass:
            [Double]]
        {
            Dictionary(
                uniqueKeysWithValues: Set(classes).map { tokens in
                    (tokens, make { classes[$1] == tokens ? layers[$1][keyPath: $0] : 0 })
                })
        }
        func sums(_ size: KeyPath<LayerProfile, Double>) -> [Profile.TokenClass: [Double]] {
            byClass { value in
                layers.indices.reduce(into: [0]) { $0.append($0[$0.count - 1] + value(size, $1)) }
            }
        }
        savedBytes = sums(\.savedBytesPerSample)
        heldInputBytes = sums(\.heldInputBytesPerSample)
        cacheBytes = sums(\.cacheBytesPerSample)
        let width = layers.count + 1
        transientBytes = byClass { value in
            var largest = [Double](repeating: 0, count: width * width)
            for first in layers.indices {
                for last in first..<layers.count {
                    largest[first * width + last + 1] = max(
                        largest[first * width + last], value(\.transientBytesPerSample, last))
                }
            }
            return largest
        }
        var shared: [(parameter: LayerProfile.SharedParameter, layers: [Int])] = []
        for (index, layer) in layers.enumerated() {
            for parameter in layer.sharedParameters {
                if let known = shared.firstIndex(where: { $0.parameter.name == parameter.name }) {
                    shared[known].layers.append(index)
                } else {
                    shared.append((parameter, [index]))
                }
            }
        }
        self.shared = shared
    }

    /// m_d of eq. (3): peak bytes of a rank that takes `share` samples of each micro-batch through some layers.
    ///
    /// - Parameters:
    ///   - recompute: keep only the input of the first layer for each micro-batch in flight; the model's own input is
    ///     tokens, which count nothing.
    ///   - microBatch: size and count of the micro-batches. A rank that takes all of each holds neighbouring slots and does
    ///     not meet the worst ones several times; few micro-batches leave less under way.
    public func peakBytes(
        layers: Range<Int>, share: Int, inFlightCount: Int, recompute: Bool = false,
        microBatch: (size: Int, count: Int)
    ) -> Int {
        var load = resident(layers)
        guard share > 0 else { return memory.peakBytes(load, microBatchCount: microBatch.count) }
        let width = profile.layers.count + 1
        func sum(
            _ sums: [Profile.TokenClass: [Double]], over range: Range<Int>,
            _ samples: (Profile.TokenClass) -> Double
        ) -> Double {
            sums.reduce(0) {
                $0 + samples($1.key) * ($1.value[range.upperBound] - $1.value[range.lowerBound])
            }
        }
        let one = { profile.peakSamples(share, $0) }
        let inFlight = { (tokens: Profile.TokenClass) in
            microBatch.size == share
                ? profile.peakSamples(share * inFlightCount, tokens)
                : Double(inFlightCount) * profile.peakSamples(share, tokens)
        }
        let input = layers.lowerBound == 0 ? 0 : profile.forwardBytesPerSample(after: layers.lowerBound - 1)
        // What was sent is where backward begins.
        let result =
            layers.upperBound == profile.layers.count
            ? 0 : profile.backwardBytesPerSample(after: layers.upperBound - 1)
        let saving = recompute ? one : inFlight
        load.keptBytes =
            inFlight(.either) * input + saving(.either) * result + sum(savedBytes, over: layers, saving)
            // Inside a stage nobody but backward holds a layer's input.
            + sum(heldInputBytes, over: layers.lowerBound + 1..<layers.upperBound, saving)
        load.transientBytes =
            transientBytes.map { one($0) * $1[layers.lowerBound * width + layers.upperBound] }.max() ?? 0
        // While an input is taken out of its message, both are there.
        load.transientBytes = max(load.transientBytes, one(.either) * input)
        if layers.count > 1, layers.upperBound == profile.layers.count {
            // The head's input lives until its loss is known.
            load.transientBytes += one(.either) * profile.forwardBytesPerSample(after: layers.upperBound - 2)
        }
        load.cacheBytes = sum(cacheBytes, over: layers, one)
        load.exchangeBytes =
            one(.either)
            * exchangeBytesPerSample(layers, inFlightCount: inFlightCount, microBatchCount: microBatch.count)
        return memory.peakBytes(load, microBatchCount: microBatch.count)
    }

    /// What a rank without samples holds of some layers.
    private func resident(_ layers: Range<Int>) -> MemoryModel.Load {
        var load = MemoryModel.Load(
            parameterBytes: parameterBytes[layers.upperBound] - parameterBytes[layers.lowerBound],
            trainableBytes: trainableBytes(layers))
        for (parameter, copies) in repeated(layers) { load.parameterBytes -= copies * parameter.bytes }
        return load
    }

    /// Bytes of the trainable parameters of some layers, each once.
    func trainableBytes(_ layers: Range<Int>) -> Int {
        repeated(layers).reduce(trainableSums[layers.upperBound] - trainableSums[layers.lowerBound]) {
            $0 - ($1.parameter.isTrainable ? $1.copies * $1.parameter.bytes : 0)
        }
    }

    /// The parameters that several of the layers count, with how often too many.
    private func repeated(_ layers: Range<Int>) -> [(parameter: LayerProfile.SharedParameter, copies: Int)] {
        shared.compactMap { parameter, holders in
            let copies = holders.reduce(0) { $0 + (layers.contains($1) ? 1 : 0) }
            return copies > 1 ? (parameter, copies - 1) : nil
        }
    }

    /// Bytes of messages at one time.
    ///
    /// Two receives from each neighbour are posted ahead while more are to come, and a send to each may still be on its
    /// way. With all micro-batches in flight received, none of them is posted any more.
    private func exchangeBytesPerSample(
        _ layers: Range<Int>, inFlightCount: Int, microBatchCount: Int
    ) -> Double {
        func boundary(_ layer: Int) -> (forward: Double, backward: Double) {
            (profile.forwardBytesPerSample(after: layer), profile.backwardBytesPerSample(after: layer))
        }
        var bytes = 0.0
        let toCome = microBatchCount - inFlightCount
        if layers.lowerBound > 0 {
            let (forward, backward) = boundary(layers.lowerBound - 1)
            // Every backward that sends a gradient is one receive less to come.
            bytes += max(
                Double(min(2, toCome)) * forward,
                Double(max(0, min(2, toCome - 1))) * forward + backward)
        }
        if layers.upperBound < profile.layers.count {
            let (forward, backward) = boundary(layers.upperBound - 1)
            bytes += Double(min(2, microBatchCount - 1)) * backward
            // Whoever waits for gradients has nothing older under way than what they answer.
            bytes += (backward > 0 ? 1 : Double(min(2, microBatchCount))) * forward
        }
        return bytes
    }

    /// Seconds for a stage boundary to pass one micro-batch, in either direction.
    ///
    /// Every rank exchanges with each rank of the other stage the rows that both hold. A rank moves its messages one after
    /// another, different ranks at the same time, so the busiest rank counts.
    public func transferSeconds(bytesPerSample: Double, between a: StagePlan, and b: StagePlan) -> Double {
        transferSeconds(
            bytesPerSample: bytesPerSample, a.ranks[...], a.share[...], b.ranks[...], b.share[...])
    }

    func transferSeconds(
        bytesPerSample: Double, _ aRanks: ArraySlice<Int>, _ aShare: ArraySlice<Int>,
        _ bRanks: ArraySlice<Int>,
        _ bShare: ArraySlice<Int>
    ) -> Double {
        var busyInB = [Double](repeating: 0, count: bRanks.count)
        var busiest = 0.0
        var aStart = 0
        for (aRank, aCount) in zip(aRanks, aShare) {
            var busyInA = 0.0
            var bStart = 0
            for (index, (bRank, bCount)) in zip(bRanks, bShare).enumerated() {
                let rows = min(aStart + aCount, bStart + bCount) - max(aStart, bStart)
                if rows > 0 {
                    let seconds = profile.link(aRank, bRank).seconds(bytes: Double(rows) * bytesPerSample)
                    busyInA += seconds
                    busyInB[index] += seconds
                }
                bStart += bCount
            }
            busiest = max(busiest, busyInA)
            aStart += aCount
        }
        return max(busiest, busyInB.max() ?? 0)
    }

    /// AR of eq. (5): seconds to sum the trainable gradients of some layers over a stage group.
    ///
    /// A ring of g ranks passes 2 (g - 1) messages of a g-th of the bytes, at the pace of the group's worst link.
    public func allReduceSeconds(layers: Range<Int>, ranks: [Int]) -> Double {
        let bytes = trainableBytes(layers)
        guard ranks.count > 1, bytes > 0 else { return 0 }
        let part = Double(bytes) / Double(ranks.count)
        var worst = 0.0
        for (index, a) in ranks.enumerated() {
            for b in ranks[(index + 1)...] { worst = max(worst, profile.link(a, b).seconds(bytes: part)) }
        }
        return 2 * Double(ranks.count - 1) * worst
    }

    /// What one stage of a plan costs. Where it recomputes, its backward begins with a second forward.
    ///
    /// - Parameters:
    ///   - next: the stage after it; nil for the last.
    ///   - inFlightCount: micro-batches between forward and backward, `MemoryModel.inFlightCount`.
    ///   - microBatchCount: of a mini-batch.
    public func prediction(
        of stage: StagePlan, next: StagePlan?, inFlightCount: Int, microBatchCount: Int
    ) -> StagePrediction {
        let microBatch = (size: stage.share.reduce(0, +), count: microBatchCount)
        var (slowestForward, slowestBackward, slowestBoth) = (0.0, 0.0, 0.0)
        for (rank, share) in zip(stage.ranks, stage.share) {
            var (forward, backward) = (0.0, 0.0)
            for layer in stage.layers {
                forward += profile.forwardSeconds(device: rank, layer: layer, samples: Double(share))
                backward += profile.backwardSeconds(device: rank, layer: layer, samples: Double(share))
            }
            if stage.recompute { backward += forward }
            slowestForward = max(slowestForward, forward)
            slowestBackward = max(slowestBackward, backward)
            slowestBoth = max(slowestBoth, forward + backward)
        }
        let boundary = stage.layers.upperBound - 1
        func transfer(_ bytesPerSample: Double) -> Double {
            next.map { transferSeconds(bytesPerSample: bytesPerSample, between: stage, and: $0) } ?? 0
        }
        return StagePrediction(
            forwardSeconds: slowestForward, backwardSeconds: slowestBackward, microBatchSeconds: slowestBoth,
            forwardTransferSeconds: transfer(profile.forwardBytesPerSample(after: boundary)),
            backwardTransferSeconds: transfer(profile.backwardBytesPerSample(after: boundary)),
            allReduceSeconds: allReduceSeconds(layers: stage.layers, ranks: stage.ranks),
            memoryBytes: stage.share.map {
                peakBytes(
                    layers: stage.layers, share: $0, inFlightCount: inFlightCount,
                    recompute: stage.recompute, microBatch: microBatch)
            })
    }

    /// What each stage of a valid plan costs.
    public func predictions(of plan: Plan) -> [StagePrediction] {
        plan.stages.indices.map { index in
            prediction(
                of: plan.stages[index], next: index + 1 < plan.stages.count ? plan.stages[index + 1] : nil,
                inFlightCount: MemoryModel.inFlightCount(
                    stage: index, stageCount: plan.stages.count, microBatchCount: plan.microBatchCount),
                microBatchCount: plan.microBatchCount)
        }
    }

    /// What keeps the first rank that does not fit from its budget, as a clause; nil when every rank fits.
    public func memoryShortage(of plan: Plan) -> String? {
        for (stage, costs) in zip(plan.stages, predictions(of: plan)) {
            for (rank, bytes) in zip(stage.ranks, costs.memoryBytes) {
                if let budget = profile.devices[rank].memoryBudgetBytes, bytes > budget {
                    return "rank \(rank) needs \(bytes) bytes for \(stage), its budget is \(budget)"
                }
            }
        }
        return nil
    }
}
