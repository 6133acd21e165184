import Families
import MPI
import Models
import Plans
import RankChecks
import Reporting
import Stages
import Support
import TensorCore
import TextData

let generatorChecks: [(name: String, run: RankCheck)] = [
    ("generator-t5", { try expectRequestsApart(encoderDecoder, $0) }),
    ("generator-llama", { try expectRequestsApart(decoderOnly, $0) }),
]

private let encoderDecoder = """
    {"model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 60}
    """

private let decoderOnly = """
    {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
     "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "vocab_size": 60}
    """

private struct Writer {
    let generator: Generator
    let builder: BatchBuilder

    /// A generator of its own over a model of its own, on as many stages as there are ranks; the numbers are always the same.
    init(_ configuration: String, _ world: borrowing Communicator) throws {
        let family = try readModelFamily(
            JSONReader(parsing: Array(configuration.utf8), file: "config.json"))
        let layerCount = family.plannerLayers.count
        let bounds = (0...world.size).map { $0 * layerCount / world.size }
        let plan = Plan(
            stages: (0..<world.size).map {
                StagePlan(layers: bounds[$0]..<bounds[$0 + 1], ranks: [$0], share: [2])
            }, microBatchCount: 2)
        let context = RankContext(
            world: try world.duplicate(name: "generation"), ledger: Ledger(),
            trace: TraceRecorder(rank: world.rank))
        let model = StageModel.Configuration(
            technique: ParallelAdapters(reductionFactor: 4), head: .languageModel, pooling: .mean)
        let placement = Placement(plan, rank: world.rank)!
        let stage = try StageModel(
            family, model, steps: family.steps(of: placement.stage.layers),
            frozen: RandomSource(seed: 3, ledger: context.ledger), withBackbone: true, ledger: context.ledger)
        // Far from zero: texts of a model that has learned nothing would all be alike.
        for declaration in stage.parameters.declarations {
            let count = declaration.shape.reduce(1, *)
            let random = CounterRandom(seed: 4, name: declaration.name)
            stage.parameters.set(
                declaration.name, normalNumbers(count, standardDeviation: 0.3, random))
        }
        let exchange = try BoundaryExchange(
            placement, PipelineCommunicator(try world.duplicate(name: "pipeline")), family: family, model,
            ledger: context.ledger, trace: context.trace)
        generator = Generator(family, plan, model: stage, exchange: exchange, on: context)
        let inputs: [[Int32]] = [[5, 9, 11], [40], [7, 8, 30, 31], [12, 13], [50, 6]]
        let dataset = TokenizedDataset(
            inputs: inputs, labels: .texts(inputs.map { _ in "" }), targets: inputs.map { _ in [3] })
        builder = try BatchBuilder(dataset, family, head: .languageModel)
    }
}

/// One generator serves requests of several callers one after the other, and each gets the texts that a generator of its own
/// would write.
private func expectRequestsApart(_ configuration: String, _ world: borrowing Communicator) throws {
    let requests: [(samples: [Int], decoding: Decoding, length: Int)] = [
        ([0, 1, 2, 3], Decoding(temperature: 1, seed: 7), 9), ([4, 2, 0], .greedy, 5),
        ([2, 3, 1], Decoding(temperature: 2, topP: 0.9, seed: 1, maximumTokens: 12), 3),
        ([0, 1, 2, 3], Decoding(temperature: 1, seed: 7), 9),
    ]
    let shared = try Writer(configuration, world)
    var found: [[[Int32]]] = []
    for (samples, decoding, length) in requests {
        func texts(_ writer: Writer) throws -> (texts: [[Int32]], told: [Int: [Int32]]) {
            var told: [Int: [Int32]] = [:]
            let request = Generator.Request(decoding: decoding, maximumLength: length) { told[$0] = $1 }
            return (try writer.generator.texts(for: samples, from: writer.builder, request), told)
        }
        let (together, told) = try texts(shared)
        let (apart, _) = try texts(try Writer(configuration, world))
        try expectEqual(together, apart, "texts of one generator and of a generator of their own")
        try expectEqual(together.count, samples.count, "texts")
        try expect(
            together.allSatisfy { $0.count <= decoding.maximumTokens ?? length }, "longer than asked")
        // Whoever asked hears of its own samples alone, and only on rank 0.
        let expected = Dictionary(uniqueKeysWithValues: zip(samples, together))
        try expectEqual(told, world.rank == 0 ? expected : [:], "what the caller was told")
        let bytes = Array("\(together)".utf8)
        try expect(try world.allGather(bytes).allSatisfy { $0 == bytes }, "ranks know other texts")
        found.append(together)
    }
    try expectEqual(found[3], found[0], "texts of the same request, after others")
    try expect(
        Set(found[..<3].flatMap { $0 }).count > 5, "requests that should differ give the same: \(found)")
}
