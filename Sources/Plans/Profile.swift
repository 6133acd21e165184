import Support

/// What was measured of every device, layer and link: the planner's only knowledge (`profile.json`).
package struct Profile: Sendable, Equatable {
    /// One for each rank, in rank order.
    package let devices: [DeviceProfile]
    /// The planner's layers in order: embedding, encoder blocks, decoder blocks, head.
    package let layers: [LayerProfile]
    /// One for each unordered pair of ranks.
    package let links: [LinkProfile]
    /// Mean tokens of a sample, over the samples that will be trained on.
    package let meanTokens: TokenCounts
    /// Samples that an epoch trains on; nil when the profile does not say.
    package let sampleCount: Int?
    /// The most tokens that 1, 2, ... neighbouring slots of a mini-batch hold in the run; empty when only the mean is
    /// known.
    package let peakTokens: [TokenCounts]

    private let linkIndex: [Int]

    /// Checks that the parts belong together.
    ///
    /// - Throws: a configuration failure that names the device, layer or pair of ranks, what was expected and what was
    ///   found.
    package init(
        devices: [DeviceProfile], layers: [LayerProfile], links: [LinkProfile], meanTokens: TokenCounts,
        sampleCount: Int? = nil, peakTokens: [TokenCounts] = []
    ) throws {
        guard !devices.isEmpty else {
            throw Failure.configuration("profile: expected at least one device, found none")
        }
        guard !layers.isEmpty else {
            throw Failure.configuration("profile: expected at least one layer, found none")
        }
        for (index, device) in devices.enumerated() {
            guard device.rank == index else {
                throw Failure.configuration(
                    "profile: device \(index): expected rank \(index), as devices stand in rank order, "
                        + "found \(device.rank)")
            }
            try device.validate(layerCount: layers.count)
        }
        let count = devices.count
        var linkIndex = [Int](repeating: -1, count: count * count)
        for (index, link) in links.enumerated() {
            let (a, b) = (link.ranks.0, link.ranks.1)
            guard a != b, (0..<count).contains(a), (0..<count).contains(b) else {
                throw Failure.configuration(
                    "profile: link \(index): expected two different ranks from 0 to \(count - 1), found \(a) and \(b)"
                )
            }
            guard linkIndex[a * count + b] < 0 else {
                throw Failure.configuration(
                    "profile: link \(index): expected every pair of ranks once, found \(a) and \(b) twice")
            }
            linkIndex[a * count + b] = index
            linkIndex[b * count + a] = index
        }
        for a in 0..<count {
            for b in a + 1..<max(count, a + 1) where linkIndex[a * count + b] < 0 {
                throw Failure.configuration(
                    "profile: expected a link for every pair of ranks, found none between \(a) and \(b)")
            }
        }
        self.devices = devices
        self.layers = layers
        self.links = links
        self.meanTokens = meanTokens
        self.sampleCount = sampleCount
        self.peakTokens = peakTokens
        self.linkIndex = linkIndex
    }

    /// t_f of eq. (3): seconds that a device takes for one layer forward over some samples.
    package func forwardSeconds(device: Int, layer: Int, samples: Double) -> Double {
        let device = devices[device]
        return device.layers[layer].forward(samples, measuredAt: device.microBatchSizes)
    }

    /// t_b of eq. (3): seconds that a device takes for one layer backward over some samples.
    package func backwardSeconds(device: Int, layer: Int, samples: Double) -> Double {
        let device = devices[device]
        return device.layers[layer].backward(samples, measuredAt: device.microBatchSizes)
    }

    /// The measured link between two different ranks, in either order.
    package func link(_ a: Int, _ b: Int) -> LinkProfile { links[linkIndex[a * devices.count + b]] }

    /// Which tokens of a sample decide what a layer holds of it.
    enum TokenClass: CaseIterable { case source, target, either }

    /// A decoder beside an encoder reads both; a head the rows with a target, where samples have one.
    func tokenClass(ofLayer index: Int) -> TokenClass {
        switch layers[index].kind {
        case .embedding, .encoderBlock: .source
        case .decoderBlock: hasEncoder ? .either : .source
        case .head: meanTokens.target > 0 ? .target : .source
        }
    }

    private var hasEncoder: Bool { layers.contains { $0.kind == .encoderBlock } }

    /// As many samples of mean length as hold the tokens of so many neighbouring slots at the worst; the same number when
    /// only the mean is known.
    func peakSamples(_ samples: Int, _ tokens: TokenClass) -> Double {
        guard samples > 0, !peakTokens.isEmpty else { return Double(samples) }
        // Beyond a mini-batch there is nothing to hold.
        let peak = peakTokens[min(samples, peakTokens.count) - 1]
        func count(_ most: Double, _ mean: Double) -> Double {
            mean > 0 ? max(Double(samples), most / mean) : Double(samples)
        }
        let (source, target) = (
            count(peak.source, meanTokens.source), count(peak.target, meanTokens.target)
        )
        switch tokens {
        case .source: return source
        case .target: return target
        case .either: return max(source, target)
        }
    }

    /// Bytes of one sample of mean length that cross to the stage after `layer`.
    package func forwardBytesPerSample(after layer: Int) -> Double {
        layers[layer].forwardBytesPerToken.total(meanTokens)
    }

    /// Bytes of one sample of mean length that come back from the stage after `layer`.
    package func backwardBytesPerSample(after layer: Int) -> Double {
        layers[layer].backwardBytesPerToken.total(meanTokens)
    }
}

/// A number for source tokens (the only ones that encoder-only and decoder-only models have) and one for target tokens.
package struct TokenCounts: Sendable, Equatable {
    package var source: Double
    package var target: Double

    package init(source: Double, target: Double = 0) {
        self.source = source
        self.target = target
    }

    /// The sum of products with token counts: bytes per token become bytes per sample.
    package func total(_ tokens: TokenCounts) -> Double { source * tokens.source + target * tokens.target }
}

/// What the planner knows of one layer on any device.
package struct LayerProfile: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        case embedding
        case encoderBlock = "encoder_block"
        case decoderBlock = "decoder_block"
        case head
    }

    package var name: String
    package var kind: Kind
    /// Bytes of all parameters, frozen and trainable.
    package var parameterBytes: Int
    /// Bytes of the trainable parameters.
    package var trainableBytes: Int
    /// What the next stage needs of each token when a stage ends after this layer (hidden states of backbone and side, and
    /// the encoder's output where a decoder follows).
    package var forwardBytesPerToken: TokenCounts
    /// The gradient that comes back for each token.
    package var backwardBytesPerToken: TokenCounts
    /// Bytes kept from forward to backward for one sample of mean length, without the layer's input and, unless backward
    /// needs it, its result.
    package var savedBytesPerSample: Double
    /// Bytes of the layer's input that backward needs, for one sample of mean length.
    package var heldInputBytesPerSample: Double
    /// Bytes in use only while the layer runs, for one sample of mean length.
    package var transientBytesPerSample: Double
    /// Parameters that other layers hold as well (a tied table): a stage with several of these layers has them once.
    package var sharedParameters: [SharedParameter]
    /// Bytes that a cache keeps of one sample of mean length in float32, whether or not the run fills one; 0 where the technique has
    /// nothing to cache.
    package var cacheBytesPerSample: Double

    package struct SharedParameter: Sendable, Equatable {
        package var name: String
        package var bytes: Int
        package var isTrainable: Bool

        package init(name: String, bytes: Int, isTrainable: Bool) {
            self.name = name
            self.bytes = bytes
            self.isTrainable = isTrainable
        }
    }

    package init(
        name: String, kind: Kind, parameterBytes: Int, trainableBytes: Int, forwardBytesPerToken: TokenCounts,
        backwardBytesPerToken: TokenCounts, savedBytesPerSample: Double, transientBytesPerSample: Double,
        heldInputBytesPerSample: Double = 0, sharedParameters: [SharedParameter] = [],
        cacheBytesPerSample: Double = 0
    ) {
        self.name = name
        self.kind = kind
        self.parameterBytes = parameterBytes
        self.trainableBytes = trainableBytes
        self.forwardBytesPerToken = forwardBytesPerToken
        self.backwardBytesPerToken = backwardBytesPerToken
        self.savedBytesPerSample = savedBytesPerSample
        self.transientBytesPerSample = transientBytesPerSample
        self.heldInputBytesPerSample = heldInputBytesPerSample
        self.sharedParameters = sharedParameters
        self.cacheBytesPerSample = cacheBytesPerSample
    }
}

/// The measured way between two ranks, the same in both directions.
package struct LinkProfile: Sendable {
    package var ranks: (Int, Int)
    /// Bytes per second.
    package var bandwidth: Double
    /// Seconds before the first byte arrives.
    package var latencySeconds: Double

    package init(ranks: (Int, Int), bandwidth: Double, latencySeconds: Double) {
        self.ranks = ranks
        self.bandwidth = bandwidth
        self.latencySeconds = latencySeconds
    }

    /// Seconds to move some bytes.
    package func seconds(bytes: Double) -> Double { latencySeconds + bytes / bandwidth }
}

extension LinkProfile: Equatable {
    package static func == (a: LinkProfile, b: LinkProfile) -> Bool {
        a.ranks == b.ranks && a.bandwidth == b.bandwidth && a.latencySeconds == b.latencySeconds
    }
}
