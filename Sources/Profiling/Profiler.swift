import Cluster
import MPI
import Models
import Plans
import Support
import TensorCore

/// Measures what the planner needs to know of every rank, layer and link.
///
/// Every kind of planner layer is timed by itself with weights of the true shapes that are made up, so no checkpoint
/// is read and no rank holds more than one layer; layers of one kind have the same times. A layer's parameters are
/// counted with it although a stage may hold one table for several layers (tied embeddings, T5's position tables), so a
/// stage's bytes are never counted too low.
package struct Profiler: Sendable {
    private let family: any ModelFamily
    private let model: StageModel.Configuration
    private let formats: StoredFormats
    private let dropout: Double
    private let seed: UInt64

    /// - Parameters:
    ///   - formats: how the model's frozen matrices are stored.
    ///   - dropout: the probability in the side network during training; 0 for none.
    package init(
        family: any ModelFamily, model: StageModel.Configuration, formats: StoredFormats = .float32,
        dropout: Double = 0, seed: UInt64 = 0
    ) {
        self.family = family
        self.model = model
        self.formats = formats
        self.dropout = dropout
        self.seed = seed
    }

    /// Measures, and returns the same profile on every rank.
    ///
    /// Collective; all arguments but the memory budget are the same on every rank. All ranks measure at the same time, as
    /// they will train. Times are medians of processor time, levelled so that more samples never take less, times what the
    /// wall's clock showed for it in all: where ranks share cores, or a limit lets a process run for a part of every tenth
    /// of a second, few passes are interrupted, but for long.
    ///
    /// - Parameters:
    ///   - sourceLengths: tokens of each sample's input, of all samples or of some that stand for them.
    ///   - targetLengths: tokens of each sample's target, for a decoder-only language model those to predict; empty where
    ///     the task is not text.
    ///   - peakTokens: what `PeakTokens` found; empty to plan for samples of mean length.
    ///   - memoryBudget: bytes that training may use on this rank; nil for no limit. Measuring keeps to it, and to the
    ///     memory available, by leaving out micro-batches that would go beyond on any rank.
    /// - Throws: when the model cannot be built, there are no samples, or MPI fails; on every rank.
    package func run(
        world: borrowing Communicator, sourceLengths: [Int], targetLengths: [Int],
        peakTokens: [TokenCounts] = [], miniBatchSize: Int, memoryBudget: Int?
    ) throws -> Profile {
        precondition(miniBatchSize >= 1, "a mini-batch has samples")
        let lengths = try SampleLengths(sources: sourceLengths, targets: targetLengths)
        let host = try world.agree { try HostDescription.current() }
        var sizes = Self.microBatchSizes(
            miniBatchSize: miniBatchSize, tokensPerSample: lengths.mean.source + lengths.mean.target)
        let limit = min(memoryBudget ?? host.availableMemoryBytes, host.availableMemoryBytes)
        var measured: [LayerKind: MeasuredLayer] = [:]
        let kinds = try family.plannerLayers.map(kind)
        for (layer, kind) in zip(family.plannerLayers, kinds) where measured[kind] == nil {
            let measurement = try measure(layer, lengths, sizes, limit: limit, world)
            sizes = Array(sizes.prefix(measurement.passes.count))
            measured[kind] = measurement
        }
        let links = try LinkProbe.measure(world)
        let neighbours = try world.allGather(Array(host.host.utf8)).count { $0 == Array(host.host.utf8) }
        // Not every rank of a shared host computes at every moment of the measurement, but in training it may.
        let slowdown = max(
            Double(neighbours) / Double(host.coreCount),
            measured.values.reduce(0) { $0 + $1.wallSeconds }
                / measured.values.reduce(0) { $0 + $1.processorSeconds })
        let device = DeviceProfile(
            rank: world.rank, host: host.host, coreCount: host.coreCount, threadCount: host.threadCount,
            memoryBytes: host.availableMemoryBytes, memoryBudgetBytes: memoryBudget, blasCore: host.blasCore,
            microBatchSizes: sizes,
            layers: kinds.map { measured[$0]!.times(sizeCount: sizes.count, slowdown: slowdown) })
        let layers = try layerProfiles(kinds.map { measured[$0]! }, sizes: sizes, lengths.mean)
        return try Self.share(
            device, layers, links, lengths.mean, sampleCount: sourceLengths.count, peakTokens, world)
    }

    /// The micro-batch sizes that are timed: powers of two and the mini-batch, evenly thinned to `mostSizes`.
    ///
    /// Beyond some thousand tokens the matrix products are as efficient as they get and time is linear in samples, as
    /// the planner assumes beyond the largest size; so larger micro-batches are not timed. The two largest are then a
    /// factor of 2 apart: the planner extrapolates from their difference.
    package static func microBatchSizes(miniBatchSize: Int, tokensPerSample: Double) -> [Int] {
        let most = max(1, Int(Double(mostTokens) / tokensPerSample))
        var sizes = [1]
        while sizes.last! * 2 <= min(miniBatchSize, most) { sizes.append(sizes.last! * 2) }
        if miniBatchSize <= most, miniBatchSize > sizes.last! { sizes.append(miniBatchSize) }
        guard sizes.count > mostSizes else { return sizes }
        return (0..<mostSizes).map { sizes[$0 * (sizes.count - 1) / (mostSizes - 1)] }
    }

    private static let mostSizes = 5
    private static let mostTokens = 2048
    /// How long one layer is repeated at one size.
    private static let secondsPerSize = 0.04

    // MARK: Layers

    /// Layers that cost the same. They are of one kind and have the same number of steps (a decoder's first block also looks
    /// its tokens up). Either all of them propagate gradients to their input or none does (a first block behind a frozen
    /// embedding does not), and their matrices are stored alike.
    private struct LayerKind: Hashable {
        let kind: PlannerLayer.Kind
        let stepCount: Int
        let isBehindTrained: Bool
        let formats: [WeightFormat]
    }

    private func kind(_ layer: PlannerLayer) throws -> LayerKind {
        LayerKind(
            kind: layer.kind, stepCount: layer.steps.count,
            isBehindTrained: try LayerProbe.isBehindTrained(layer, family, model),
            formats: try StageModel.inventory(family, model, steps: layer.steps).frozen.map {
                formats.format(of: $0.name)
            })
    }

    /// A kind of layer on this rank, with one pass for each size that fitted.
    private struct MeasuredLayer {
        var passes: [LayerProbe.Pass] = []
        var wallSeconds = 0.0
        var processorSeconds = 0.0

        func times(sizeCount: Int, slowdown: Double) -> LayerTimes {
            func seconds(_ pass: (LayerProbe.Pass) -> Double) -> [Double] {
                TimingStatistics.nonDecreasing(passes.prefix(sizeCount).map { pass($0) * slowdown })
            }
            return LayerTimes(
                forwardSeconds: seconds(\.forwardSeconds), backwardSeconds: seconds(\.backwardSeconds))
        }
    }

    /// Measures one layer at each size, all ranks together, until a size would not fit on one of them.
    private func measure(
        _ layer: PlannerLayer, _ lengths: SampleLengths, _ sizes: [Int], limit: Int,
        _ world: borrowing Communicator
    ) throws -> MeasuredLayer {
        let probe = try world.agree {
            try LayerProbe(
                layer, family, model, formats, dropout: dropout, seed: seed, isThreaded: threadCount > 1)
        }
        var result = MeasuredLayer()
        for (index, size) in sizes.enumerated() {
            // Bytes grow in proportion to the samples; that weights do not makes this an upper bound.
            let expected = index == 0 ? 0 : probe.peakBytes * size / sizes[index - 1]
            // All ranks stop if one has no room, and they begin together.
            guard try world.allReduceMax(Int64(expected > limit ? 1 : 0)) == 0 else { break }
            result.passes.append(
                try probe.measure(
                    lengths.microBatch(of: size), head: model.head, seconds: Self.secondsPerSize))
        }
        (result.wallSeconds, result.processorSeconds) = (probe.wallSeconds, probe.processorSeconds)
        return result
    }

    private func layerProfiles(
        _ measured: [MeasuredLayer], sizes: [Int], _ mean: TokenCounts
    ) throws -> [LayerProfile] {
        let layers = family.plannerLayers
        let shared = try sharedParameters()
        let (last, samples) = (sizes.count - 1, Double(sizes[sizes.count - 1]))
        return try layers.enumerated().map { index, layer in
            let layerMeasured = measured[index]
            let boundary =
                index + 1 < layers.count
                ? try BoundaryDescription(before: index + 1, family, model) : nil
            let parameterBytes = try StageModel.parameterBytes(family, model, steps: layer.steps, formats)
            return LayerProfile(
                name: layer.name, kind: layer.kind.profiled, parameterBytes: parameterBytes.all,
                trainableBytes: parameterBytes.trainable,
                forwardBytesPerToken: Self.bytesPerToken(boundary?.forward ?? [], family),
                backwardBytesPerToken: Self.bytesPerToken(boundary?.backward ?? [], family),
                savedBytesPerSample: Double(layerMeasured.passes[last].savedBytes) / samples,
                transientBytesPerSample: Double(layerMeasured.passes[last].transientBytes) / samples,
                heldInputBytesPerSample: Double(layerMeasured.passes[last].heldInputBytes) / samples,
                sharedParameters: shared[index], cacheBytesPerSample: try cacheBytes(layer, mean))
        }
    }

    /// The parameters of each layer that another layer holds as well.
    private func sharedParameters() throws -> [[LayerProfile.SharedParameter]] {
        let inventories = try family.plannerLayers.map { layer -> [LayerProfile.SharedParameter] in
            let (trainable, frozen) = try StageModel.inventory(family, model, steps: layer.steps)
            return trainable.map {
                LayerProfile.SharedParameter(
                    name: $0.name, bytes: WeightFormat.float32.bytes($0.count), isTrainable: true)
            }
                + frozen.map {
                    LayerProfile.SharedParameter(
                        name: $0.name, bytes: formats.bytes(of: $0), isTrainable: false)
                }
        }
        var holders: [String: Int] = [:]
        for parameter in inventories.joined() { holders[parameter.name, default: 0] += 1 }
        return inventories.map { $0.filter { holders[$0.name]! > 1 } }
    }

    /// Bytes of a sample of mean length that the cache keeps of a layer, in float32 whatever its files hold.
    private func cacheBytes(_ layer: PlannerLayer, _ mean: TokenCounts) throws -> Double {
        guard let technique = model.technique.side else { return 0 }
        let shape = CacheShape(
            family, sideStacks: try technique.sideDescription(family).stacks, steps: layer.steps)
        return shape.stacks.reduce(0) { sum, stack in
            let tokens = stack.stack == family.stacks[0].kind ? mean.source : mean.target
            return sum + tokens * Double(shape.rowCount(stack) * MemoryLayout<Float>.stride)
        }
    }

    /// Bytes that cross for each token of a sample's source and target. A model of one stack has source tokens only.
    private static func bytesPerToken(_ parts: [StatePart], _ family: any ModelFamily) -> TokenCounts {
        parts.reduce(into: TokenCounts(source: 0)) { sum, part in
            let bytes = Double(part.columns * MemoryLayout<Float>.stride)
            if part.stack == family.stacks[0].kind { sum.source += bytes } else { sum.target += bytes }
        }
    }

    // MARK: Sharing

    /// Brings all ranks' devices and links together. Collective; the layers are those of rank 0.
    private static func share(
        _ device: DeviceProfile, _ layers: [LayerProfile], _ links: [LinkProfile], _ meanTokens: TokenCounts,
        sampleCount: Int, _ peakTokens: [TokenCounts], _ world: borrowing Communicator
    ) throws -> Profile {
        let own: JSONValue = .dictionary([
            ("device", device.json), ("links", .array(links.map(\.json))),
        ])
        let gathered = try world.gather(Array(own.text().utf8))
        let shared = try world.jsonFromRoot("profile") {
            var devices: [DeviceProfile] = []
            var allLinks: [LinkProfile] = []
            for (rank, bytes) in gathered!.enumerated() {
                let file = "profile of rank \(rank)"
                let object = try JSONReader(parsing: bytes, file: file).object()
                devices.append(try DeviceProfile(try object.required("device")))
                allLinks += try object.required("links").array().map { try LinkProfile($0) }
            }
            let profile = try Profile(
                devices: devices, layers: layers,
                links: allLinks.sorted { ($0.ranks.0, $0.ranks.1) < ($1.ranks.0, $1.ranks.1) },
                meanTokens: meanTokens, sampleCount: sampleCount, peakTokens: peakTokens)
            return profile.json
        }
        return try Profile(shared)
    }
}

extension PlannerLayer.Kind {
    fileprivate var profiled: LayerProfile.Kind {
        switch self {
        case .embedding: .embedding
        case .encoder: .encoderBlock
        case .decoder: .decoderBlock
        case .head: .head
        }
    }
}
