/// How many bytes training some layers takes on one rank: m_d of eq. (3) from a profile.
///
/// Beyond the paper's, it counts messages to other stages and rows on their way to the disk. A layer runs beside what the
/// layers before it keep, not beside what all layers keep.
struct StageMemory: Sendable {
    private let profile: Profile
    private let model: MemoryModel
    // Sums over layers 0..<i.
    private let parameterSums: [Int]
    private let trainableSums: [Int]
    /// For each parameter that several layers hold, which ones do.
    private let shared: [(parameter: LayerProfile.SharedParameter, layers: [Int])]
    private let runs: [LayerRun]
    private let cacheSums: [Double]

    init(profile: Profile, model: MemoryModel) {
        self.profile = profile
        self.model = model
        let layers = profile.layers
        parameterSums = layers.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.parameterBytes) }
        trainableSums = layers.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.trainableBytes) }
        cacheSums = layers.reduce(into: [0]) {
            $0.append($0[$0.count - 1] + (model.fillsCache ? $1.cacheBytesPerSample : 0))
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
        var starts: [Int] = []
        for index in layers.indices
        where index == 0 || profile.tokenClass(ofLayer: index) != profile.tokenClass(ofLayer: index - 1)
            || layers[index].kind == .head
        {
            starts.append(index)
        }
        runs = zip(starts, starts.dropFirst() + [layers.count]).map { LayerRun($0..<$1, of: profile) }
    }

    /// Peak bytes of a rank that takes `share` samples of each micro-batch through some layers: see `StageCosts`.
    func peakBytes(
        layers: Range<Int>, share: Int, inFlightCount: Int, recompute: Bool,
        microBatch: (size: Int, count: Int)
    ) -> Int {
        let resident =
            parameterBytes(layers)
            + (1 + model.optimizerStateMultiple + model.bucketMultiple) * trainableBytes(layers)
        guard share > 0 else { return resident }
        let one = { profile.peakSamples(share, $0) }
        let all = { (tokens: Profile.TokenClass) in
            microBatch.size == share
                ? profile.peakSamples(share * inFlightCount, tokens)
                : Double(inFlightCount) * profile.peakSamples(share, tokens)
        }
        let input = layers.lowerBound == 0 ? 0 : profile.forwardBytesPerSample(after: layers.lowerBound - 1)
        // What was sent is where backward begins.
        let result =
            layers.upperBound == profile.layers.count
            ? 0 : profile.backwardBytesPerSample(after: layers.upperBound - 1)

        // The micro-batch that runs, at its worst moment: while its input is taken out of the message, or in some layer.
        let isLast = layers.upperBound == profile.layers.count
        // What the stage computed, and the gradient that came for it, live until its backward is over. The last layer
        // counts them itself; where that is the head, its input is the result.
        let beforeResult = max(layers.lowerBound, layers.upperBound - (isLast ? 2 : 1))
        let final =
            isLast && layers.count > 1
            ? profile.passedBytesPerSample(after: layers.upperBound - 2, inStageFrom: layers.lowerBound)
            : 2 * result
        var running = one(.either) * input
        var (kept, keptByOthers) = (0.0, 0.0)
        for run in runs where run.layers.overlaps(layers) {
            func consider(_ moment: LayerRun.Moment, _ others: Double) {
                running = max(
                    running,
                    kept + one(run.tokens) * moment.own + one(run.inputTokens) * moment.input
                        + one(.either) * others)
            }
            consider(run.worst(layers.lowerBound..<beforeResult), final)
            for layer in beforeResult..<layers.upperBound where run.layers.contains(layer) {
                consider(run.moment(of: layer, inStageFrom: layers.lowerBound), 0)
            }
            let bytes = run.keptBytes(layers)
            kept += one(run.tokens) * bytes
            keptByOthers += recompute ? 0 : max(0, all(run.tokens) - one(run.tokens)) * bytes
        }
        keptByOthers += recompute ? 0 : max(0, all(.either) - one(.either)) * result

        let messages = messageBytes(layers, inFlightCount: inFlightCount, microBatchCount: microBatch.count)
        // The last result before the first gradient is still there while it is put into its message.
        let packed =
            isLast
            ? 0
            : max(
                result,
                profile.passedBytesPerSample(after: layers.upperBound - 1, inStageFrom: layers.lowerBound))
        let atWork = max(
            running + one(.either) * messages.running,
            (recompute ? 0 : kept) + one(.either) * (packed + messages.waiting))
        // One micro-batch's rows of the cache are filled while those of another, perhaps of the last mini-batch, are
        // written.
        let queued = 2 * one(.either) * (cacheSums[layers.upperBound] - cacheSums[layers.lowerBound])
        return resident + Int((all(.either) * input + keptByOthers + atWork + queued).rounded(.up))
    }

    /// Peak bytes of a rank that trains `share` samples of each mini-batch from the cache; nil when nothing is cached.
    ///
    /// It holds what is trained and what is frozen in the head, the rows of one part of a mini-batch beside those that are read
    /// ahead, and what backward keeps, to which the rows belong. A layer's transient is that with the backbone: an upper bound.
    func cachedPeakBytes(share: Int) -> Int? {
        let layers = profile.layers
        guard model.fillsCache, cacheSums[layers.count] > 0 else { return nil }
        let head = layers[layers.count - 1]
        let resident =
            head.parameterBytes - head.trainableBytes
            + (2 + model.optimizerStateMultiple + model.bucketMultiple) * trainableBytes(layers.indices)
        guard share > 0 else { return resident }
        // Parts are cut between samples.
        let part = Double(CachedEpochs.partTokens) / (profile.meanTokens.source + profile.meanTokens.target)
        let samples = { (tokens: Profile.TokenClass) in
            min(profile.peakSamples(share, tokens), part + profile.peakSamples(1, tokens))
        }
        let rows = samples(.either) * cacheSums[layers.count]
        let kept = runs.reduce(0) { $0 + samples($1.tokens) * $1.keptBytes(layers.indices) }
        let transient = layers.indices.reduce(0.0) {
            max($0, samples(profile.tokenClass(ofLayer: $1)) * layers[$1].transientBytesPerSample)
        }
        return resident + Int((rows + max(rows, kept) + transient).rounded(.up))
    }

    // MARK: Parameters

    /// Bytes of the trainable parameters of some layers, each once.
    func trainableBytes(_ layers: Range<Int>) -> Int {
        repeated(layers).reduce(trainableSums[layers.upperBound] - trainableSums[layers.lowerBound]) {
            $0 - ($1.parameter.isTrainable ? $1.copies * $1.parameter.bytes : 0)
        }
    }

    /// Bytes of all parameters of some layers, each once.
    private func parameterBytes(_ layers: Range<Int>) -> Int {
        repeated(layers).reduce(parameterSums[layers.upperBound] - parameterSums[layers.lowerBound]) {
            $0 - $1.copies * $1.parameter.bytes
        }
    }

    /// The parameters that several of the layers count, with how often too many.
    private func repeated(_ layers: Range<Int>) -> [(parameter: LayerProfile.SharedParameter, copies: Int)] {
        shared.compactMap { parameter, holders in
            let copies = holders.reduce(0) { $0 + (layers.contains($1) ? 1 : 0) }
            return copies > 1 ? (parameter, copies - 1) : nil
        }
    }

    // MARK: Messages

    /// Bytes for each sample in messages at one time: while a layer runs, and when the last forward before the first
    /// backward is over.
    ///
    /// Receives from each neighbour are posted ahead while more are to come, and sends to each may still be on their way.
    /// Once all micro-batches in flight are received, no receive is posted.
    private func messageBytes(
        _ layers: Range<Int>, inFlightCount: Int, microBatchCount: Int
    ) -> (running: Double, waiting: Double) {
        func boundary(_ layer: Int) -> (forward: Double, backward: Double) {
            (profile.forwardBytesPerSample(after: layer), profile.backwardBytesPerSample(after: layer))
        }
        // Before the first backward, and when forward and backward alternate.
        var (first, alternating, waiting) = (0.0, 0.0, 0.0)
        func posted(_ toCome: Int) -> Double { Double(max(0, min(PipelineSchedule.receivesAhead, toCome))) }
        let sends = min(PipelineSchedule.sendsUnderWay, inFlightCount)
        let toCome = microBatchCount - inFlightCount
        if layers.lowerBound > 0 {
            let (forward, backward) = boundary(layers.lowerBound - 1)
            first = posted(toCome) * forward
            waiting = first
            // Every backward that sends a gradient is one receive less to come.
            alternating = max(first, posted(toCome - 1) * forward + backward)
        }
        if layers.upperBound < profile.layers.count {
            let (forward, backward) = boundary(layers.upperBound - 1)
            first += posted(microBatchCount) * backward
            waiting += posted(microBatchCount) * backward
            first += Double(sends - 1) * forward
            waiting += Double(sends) * forward
            alternating += posted(microBatchCount - 1) * backward
            // A rank that waits for gradients has no sends pending that are older than the micro-batch they belong to.
            alternating += (backward > 0 ? 1 : posted(microBatchCount)) * forward
        }
        return (max(first, alternating), waiting)
    }
}

/// Neighbouring layers whose bytes grow with the same tokens.
private struct LayerRun: Sendable {
    /// Bytes while a layer runs, for each sample.
    struct Moment {
        /// Kept by the run's layers of the stage up to that one, and needed by it.
        var own = 0.0
        /// The layer's input, unless backward keeps it anyway.
        var input = 0.0
    }

    let layers: Range<Int>
    let tokens: Profile.TokenClass
    /// What the size of a layer's input grows with.
    let inputTokens: Profile.TokenClass
    private let profile: Profile
    // Sums over the run's first i layers.
    private let savedSums: [Double]
    private let heldInputSums: [Double]
    /// For layers first..<end of the model, the worst moment of this run's part of them.
    private var worst: [Moment]

    init(_ layers: Range<Int>, of profile: Profile) {
        self.layers = layers
        self.profile = profile
        tokens = profile.tokenClass(ofLayer: layers.lowerBound)
        inputTokens = profile.layers[layers.lowerBound].kind == .head ? .either : tokens
        func sums(_ size: KeyPath<LayerProfile, Double>) -> [Double] {
            profile.layers[layers].reduce(into: [0]) { $0.append($0[$0.count - 1] + $1[keyPath: size]) }
        }
        savedSums = sums(\.savedBytesPerSample)
        heldInputSums = sums(\.heldInputBytesPerSample)
        let width = profile.layers.count + 1
        worst = Array(repeating: Moment(), count: width * width)
        for first in 0..<layers.upperBound {
            for layer in max(first, layers.lowerBound)..<width - 1 {
                let before = worst[first * width + layer]
                var after = before
                if layer < layers.upperBound {
                    let moment = moment(of: layer, inStageFrom: first)
                    if moment.own + moment.input > before.own + before.input { after = moment }
                }
                worst[first * width + layer + 1] = after
            }
        }
    }

    /// What the run's layers of a stage keep from forward to backward, for each sample.
    func keptBytes(_ stage: Range<Int>) -> Double {
        func sum(_ sums: [Double], from first: Int) -> Double {
            let (first, end) = (max(first, layers.lowerBound), min(stage.upperBound, layers.upperBound))
            return first < end ? sums[end - layers.lowerBound] - sums[first - layers.lowerBound] : 0
        }
        // Inside a stage only backward holds a layer's input; the first layer's input is counted with the stage's.
        return sum(savedSums, from: stage.lowerBound) + sum(heldInputSums, from: stage.lowerBound + 1)
    }

    /// While one of the run's layers runs in a stage that begins at `first`.
    func moment(of layer: Int, inStageFrom first: Int) -> Moment {
        let own = keptBytes(first..<layer + 1) + profile.layers[layer].transientBytesPerSample
        guard layer > first else { return Moment(own: own) }
        let passed = profile.passedBytesPerSample(after: layer - 1, inStageFrom: first)
        return Moment(own: own, input: max(0, passed - profile.layers[layer].heldInputBytesPerSample))
    }

    /// The worst moment of the run's part of some layers that begin a stage.
    func worst(_ layers: Range<Int>) -> Moment {
        worst[layers.lowerBound * (profile.layers.count + 1) + layers.upperBound]
    }
}

extension Profile {
    /// Bytes of one sample that go from a layer to the next inside a stage, beyond what the stage's input holds anyway.
    ///
    /// A stage that begins in a decoder was given the encoder's output, which every layer passes on.
    fileprivate func passedBytesPerSample(after layer: Int, inStageFrom first: Int) -> Double {
        let bytes = layers[layer].forwardBytesPerToken
        let carried = first > 0 && layers[first].kind == .decoderBlock && bytes.target > 0
        return bytes.target * meanTokens.target + (carried ? 0 : bytes.source * meanTokens.source)
    }
}
