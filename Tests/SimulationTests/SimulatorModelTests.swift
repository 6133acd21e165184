import Plans
import Simulation
import Support
import Testing

/// Sizes of published models.
enum Shapes {
    static let nano = SimulatedCluster.Device(
        name: "nano", flops: 150e9, memoryBudgetBytes: nil, memoryBandwidth: 25.6e9, sideEfficiency: 0.275)

    static func t5(d: Int, width: Int, heads: Int, layers: Int) -> ModelShape {
        shape(
            d: d, width: width, heads: heads, layers: layers, vocabulary: 32128, embedding: 32128 * d,
            ModelShape.Arithmetic(
                isPreNorm: true, hasBias: false, isGated: false, keepsResult: true, dropsProbabilities: true,
                dropsActivations: true))
    }

    static var bartLarge: ModelShape {
        // Two tables of 1026 positions, and the norms behind both embeddings.
        shape(
            d: 1024, width: 4096, heads: 16, layers: 12, vocabulary: 50265,
            embedding: (50265 + 2 * 1026) * 1024 + 4 * 1024,
            ModelShape.Arithmetic(
                isPreNorm: false, hasBias: true, isGated: false, keepsResult: false,
                dropsProbabilities: false,
                dropsActivations: false))
    }

    private static func shape(
        d: Int, width: Int, heads: Int, layers: Int, vocabulary: Int, embedding: Int,
        _ arithmetic: ModelShape.Arithmetic
    ) -> ModelShape {
        let kinds: [ModelShape.Stack.Kind] = [.encoder, .decoder]
        return ModelShape(
            hiddenSize: d, vocabularySize: vocabulary, embeddingParameters: embedding, isHeadTied: true,
            hasLanguageModelHead: true,
            stacks: kinds.map {
                ModelShape.Stack(
                    kind: $0, layerCount: layers, headCount: heads, keyValueHeadCount: heads,
                    headSize: d / heads,
                    feedForwardWidth: width)
            }, arithmetic: arithmetic)
    }
}

@Suite("Analytic model")
struct AnalyticModelTests {
    private let t5Base = Shapes.t5(d: 768, width: 3072, heads: 12, layers: 12)
    private let t5Large = Shapes.t5(d: 1024, width: 4096, heads: 16, layers: 24)

    private func model(_ shape: ModelShape, _ tuning: TuningShape, dropout: Bool = true) -> AnalyticModel {
        AnalyticModel(
            shape: shape, tuning: tuning, tokens: TokenCounts(source: 128, target: 10), hasDropout: dropout)
    }

    @Test("parameters of the published models")
    func parameters() {
        // T5's relative-position tables, 32 x heads in each stack, are not counted.
        #expect(t5Base.parameterCount == 222_903_552 - 2 * 32 * 12)
        #expect(t5Large.parameterCount == 737_668_096 - 2 * 32 * 16)
        #expect(Shapes.bartLarge.parameterCount == 406_291_456)
    }

    @Test("forward operations of one sample")
    func operations() {
        for (shape, expected, tolerance) in [
            (t5Base, 28.5e9, 0.05e9), (Shapes.bartLarge, 50e9, 1e9), (t5Large, 99e9, 1e9),
        ] {
            let found = model(shape, .full).layers.reduce(0) { $0 + $1.forward }
            #expect(abs(found - expected) < tolerance)
        }
    }

    @Test("what autograd saves, against the closed forms")
    func savedBytes() {
        let (n, t) = (128.0, 10.0)
        for (shape, isBart) in [(t5Base, false), (t5Large, false), (Shapes.bartLarge, true)] {
            let (d, w, h) = (
                Double(shape.hiddenSize), Double(shape.stacks[0].feedForwardWidth),
                Double(shape.stacks[0].headCount)
            )
            func full(_ d: Double, _ w: Double) -> (Double, Double) {
                isBart
                    ? (
                        n * (34 * d + 8 * w) + 4 * h * n * n,
                        t * (51 * d + 8 * w) + 4 * h * t * (t + n) + 8 * n * d
                    )
                    : (
                        n * (42 * d + 9 * w) + 9 * h * n * n,
                        t * (63 * d + 9 * w) + 9 * h * t * (t + n) + 8 * n * d
                    )
            }
            let blocks = shape.stacks[0].layerCount
            func found(_ tuning: TuningShape) -> (Double, Double) {
                let layers = model(shape, tuning).layers
                return (layers[1].savedBytes, layers[1 + blocks].savedBytes)
            }
            #expect(found(.full) == full(d, w))
            var side = shape
            side.hiddenSize /= 8
            for index in side.stacks.indices {
                side.stacks[index].headSize /= 8
                side.stacks[index].feedForwardWidth /= 8
            }
            let narrow = full(d / 8, w / 8)
            #expect(found(.parallelAdapters(side: side)) == (narrow.0 + 4 * n * d, narrow.1 + 4 * t * d))
            guard !isBart else { continue }
            #expect(found(.adapters(width: 64)).0 == n * (30 * d + 5 * w) + 9 * h * n * n + 8 * n * 64)
            let lowRank = n * (26 * d + 5 * w) + 9 * h * n * n + 8 * n * 32
            #expect(found(.lowRank(rank: 32, hasDropout: false)).0 == lowRank)
            #expect(found(.lowRank(rank: 32, hasDropout: true)).0 == lowRank + 6 * n * d)
        }
    }

    @Test("parts of a sample are parts of its times, bytes and messages; launches stay")
    func partsOfSamples() throws {
        var nano = Shapes.nano
        nano.launchOverheadSeconds = 0.001
        let cluster = SimulatedCluster(
            devices: [nano, nano], commonLink: .init(bandwidth: 125e6, latencySeconds: 0))
        let model = model(t5Base, .full)
        let (whole, parts) = (
            try model.profile(on: cluster), try model.profile(on: cluster, unitsPerSample: 60)
        )
        for layer in [1, 14] {
            let one = whole.forwardSeconds(device: 0, layer: layer, samples: 1)
            #expect(abs(parts.forwardSeconds(device: 0, layer: layer, samples: 60) - one) < 1e-12)
            #expect(
                abs(parts.forwardSeconds(device: 0, layer: layer, samples: 30) - (one + 0.001) / 2) < 1e-12)
            #expect(
                abs(
                    60 * parts.forwardBytesPerSample(after: layer) - whole.forwardBytesPerSample(after: layer)
                ) < 1e-6)
            #expect(
                abs(60 * parts.layers[layer].savedBytesPerSample - whole.layers[layer].savedBytesPerSample)
                    < 1e-3)
        }
    }

    @Test("a stage with both ends holds a tied table once; buckets are for groups")
    func trainingMemory() {
        let memory = TrainingMemory(
            optimizerMultiple: 2, bucketMultiple: 1, tiedBytes: 100, isTableTrained: false)
        func total(_ holdsModel: Bool, _ group: Int) -> Int {
            memory.footprint(
                parameterBytes: 1000, trainableBytes: 10, savedBytes: 5, holdsModel: holdsModel,
                groupSize: group
            ).total
        }
        #expect(total(false, 1) == 1000 + 30 + 5)
        #expect(total(false, 2) == 1000 + 40 + 5)
        #expect(total(true, 1) == 900 + 30 + 5)
        let trained = TrainingMemory(
            optimizerMultiple: 0, bucketMultiple: 0, tiedBytes: 100, isTableTrained: true)
        #expect(
            trained.footprint(
                parameterBytes: 1000, trainableBytes: 1000, savedBytes: 0, holdsModel: true, groupSize: 1
            ).total == 1800)
    }
}

@Suite("Cluster files")
struct ClusterTests {
    private static let device = #"{"name": "nano", "count": 2, "flops": 150e9, "memory_bandwidth": 25.6e9}"#

    private func cluster(_ devices: String, _ network: String = #"{"bandwidth": 125e6}"#) throws
        -> SimulatedCluster
    {
        let text = #"{"devices": [\#(devices)], "network": \#(network)}"#
        return try SimulatedCluster(JSONReader(parsing: Array(text.utf8), file: "c.json"))
    }

    @Test("devices are counted out, links found by name")
    func reads() throws {
        let found = try cluster(
            Self.device
                + #", {"name": "pi", "flops": 22e9, "memory_bandwidth": 4e9, "memory_budget_bytes": 7}"#,
            #"{"bandwidth": 100, "latency_seconds": 0.5, "links": [{"between": ["pi", "nano"], "bandwidth": 10}]}"#
        )
        #expect(found.devices.map(\.name) == ["nano", "nano", "pi"])
        #expect(found.devices.map(\.memoryBudgetBytes) == [nil, nil, 7])
        #expect(found.devices[0].sideEfficiency == 1)
        #expect(found.link(0, 1) == .init(bandwidth: 100, latencySeconds: 0.5))
        #expect(found.link(1, 2) == .init(bandwidth: 10, latencySeconds: 0.5))
        #expect(found.link(2, 1).seconds(bytes: 20) == 2.5)
        #expect(try found.prefix(2).devices.count == 2)
    }

    @Test(
        "what is wrong is named",
        arguments: [
            ("", #"{"bandwidth": 1}"#, "devices: expected at least one device"),
            (
                #"{"name": "a", "flops": 0, "memory_bandwidth": 1}"#, #"{"bandwidth": 1}"#,
                "operations per second above 0"
            ),
            (device + "," + device, #"{"bandwidth": 1}"#, "a name of its own"),
            (device, #"{"bandwidth": 0}"#, "network.bandwidth: expected bytes per second above 0"),
            (
                device, #"{"bandwidth": 1, "links": [{"between": ["nano", "nanu"], "bandwidth": 1}]}"#,
                "did you mean \"nano\"?"
            ),
            (
                device, #"{"bandwidth": 1, "links": [{"between": ["nano"], "bandwidth": 1}]}"#,
                "two names of devices"
            ),
            (
                device,
                #"{"bandwidth": 1, "links": [{"between": ["nano", "nano"], "bandwidth": 1}, {"between": ["nano", "nano"], "bandwidth": 2}]}"#,
                "every pair of names once"
            ),
            (
                #"{"name": "a", "flops": 1, "memory_bandwidth": 1, "flop": 2}"#, #"{"bandwidth": 1}"#,
                "Did you mean \"flops\"?"
            ),
            (
                #"{"name": "a", "flops": 1, "memory_bandwidth": 1, "side_efficiency": 1.5}"#,
                #"{"bandwidth": 1}"#, "side_efficiency"
            ),
        ])
    func errors(devices: String, network: String, expected: String) {
        #expect {
            try cluster(devices, network)
        } throws: {
            ($0 as? Failure)?.message.contains(expected) == true
        }
    }
}
