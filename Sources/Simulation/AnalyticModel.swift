import Plans
import Support

/// Times, bytes and messages of a model's layers by formula, where nothing was measured: for the paper's
/// cluster, or one that is not there.
///
/// A layer's time is its floating-point operations over the rate of its device, those of a side network over
/// the share of it that narrow matrices reach, and a launch overhead for each pass: the backbone forward, the
/// side network forward, and backward. Times are linear in samples. The layers are the planner's: embedding,
/// blocks, head.
package struct AnalyticModel: Sendable {
    package let shape: ModelShape
    package let tuning: TuningShape
    /// Whether the model's own dropout is on while it trains.
    package let hasDropout: Bool
    /// Of each sample: rows of the first stack, and of a decoder behind an encoder.
    package let tokens: TokenCounts
    /// Whether a stage that has the head without the embedding is counted a copy of the table that both use.
    package let copiesTable: Bool
    /// The planner's layers in order.
    package let layers: [Layer]

    /// One planner layer, for one sample.
    package struct Layer: Sendable, Equatable {
        package var name: String
        package var kind: LayerProfile.Kind
        /// Operations of the backbone forward and backward, and of the side network beside it.
        package var forward = 0.0
        package var backward = 0.0
        package var sideForward = 0.0
        package var sideBackward = 0.0
        package var parameterBytes = 0.0
        package var trainableBytes = 0.0
        package var savedBytes = 0.0
        /// Of one token, to the stage after it and back.
        package var forwardBytes = TokenCounts(source: 0)
        package var backwardBytes = TokenCounts(source: 0)
        /// What a cache of Parallel Adapters keeps.
        package var cachedBytes = 0.0
    }

    /// - Parameter tokens: of every sample; models of one stack have source tokens only.
    package init(
        shape: ModelShape, tuning: TuningShape, tokens: TokenCounts, hasDropout: Bool,
        copiesTable: Bool = true
    ) {
        self.shape = shape
        self.tuning = tuning
        self.tokens = tokens
        self.hasDropout = hasDropout
        self.copiesTable = copiesTable
        layers =
            LayerFormulas(
                shape: shape, tuning: tuning, tokens: tokens, hasDropout: hasDropout,
                headHoldsTable: copiesTable || !shape.isHeadTied
            ).layers
    }

    /// The table that a stage of the whole model holds once although both its ends use it, in bytes.
    package var tiedBytes: Int {
        shape.isHeadTied && copiesTable ? Int(AnalyticConstants.floatBytes) * shape.headParameters : 0
    }

    /// Backbone passes forward plus side passes plus the backward: how often a layer is launched forward, and
    /// backward.
    private var forwardLaunches: Double {
        if case .parallelAdapters = tuning { 2 } else { 1 }
    }

    /// The profile that these layers would have on a cluster.
    ///
    /// - Parameter unitsPerSample: above 1, the profile's "samples" are equal parts of real ones, so that
    ///   plans may share out parts of samples, as eq. (3) does where B/n is no whole number.
    package func profile(on cluster: SimulatedCluster, unitsPerSample: Int = 1) throws -> Profile {
        let unit = 1 / Double(unitsPerSample)
        // Two sizes, far apart: times are linear between them and beyond.
        let sizes = [1, 1 << 16]
        let devices = cluster.devices.enumerated().map { rank, device in
            DeviceProfile(
                // Every device is a host of its own, whatever its name.
                rank: rank, host: device.name, coreCount: cluster.devices.count,
                memoryBytes: device.memoryBudgetBytes ?? 1 << 40,
                memoryBudgetBytes: device.memoryBudgetBytes, blasCore: "analytic", microBatchSizes: sizes,
                layers: layers.map { layer in
                    func times(_ operations: Double, _ side: Double, launches: Double) -> [Double] {
                        let seconds = (operations + side / device.sideEfficiency) / device.flops * unit
                        return sizes.map { launches * device.launchOverheadSeconds + Double($0) * seconds }
                    }
                    return LayerTimes(
                        forwardSeconds: times(layer.forward, layer.sideForward, launches: forwardLaunches),
                        backwardSeconds: times(layer.backward, layer.sideBackward, launches: 1))
                })
        }
        let profiles = layers.map { layer in
            LayerProfile(
                name: layer.name, kind: layer.kind, parameterBytes: Int(layer.parameterBytes),
                trainableBytes: Int(layer.trainableBytes), forwardBytesPerToken: layer.forwardBytes,
                backwardBytesPerToken: layer.backwardBytes, savedBytesPerSample: layer.savedBytes * unit,
                transientBytesPerSample: 0)
        }
        let count = devices.count
        var links: [LinkProfile] = []
        links.reserveCapacity(count * (count - 1) / 2)
        for a in 0..<count {
            for b in stride(from: a + 1, to: count, by: 1) {
                let link = cluster.link(a, b)
                links.append(
                    LinkProfile(ranks: (a, b), bandwidth: link.bandwidth, latencySeconds: link.latencySeconds)
                )
            }
        }
        return try Profile(
            devices: devices, layers: profiles, links: links,
            meanTokens: TokenCounts(source: tokens.source * unit, target: tokens.target * unit))
    }
}
