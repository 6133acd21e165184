import ActivationCache
import Configuration
import Families
import Models
import PlanExamples
import Plans
import Stages
import Support
import Testing
import TextData

/// Bytes on each rank's disk, against a count by hand.
@Suite struct CacheFootprintTests {
    private static let inputs: [[Int32]] = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [1, 1], [2, 2, 2, 2], [3]]
    private static let targets: [[Int32]] = [[1], [2, 2], [3], [4, 4, 4], [5], [6, 6]]

    private func contents(
        _ configuration: String, head: HeadKind, stacks: [StackKind], _ precision: CachePrecision
    )
        throws -> CacheContents
    {
        let family = try readModelFamily(JSONReader(parsing: Array(configuration.utf8), file: "config.json"))
        let dataset = TokenizedDataset(
            inputs: Self.inputs,
            labels: head == .languageModel
                ? .texts(Self.inputs.map { _ in "" }) : .classes([0, 1, 0, 1, 0, 1]),
            targets: head == .languageModel ? Self.targets : nil)
        return CacheContents(
            CacheIdentity(
                modelHash: "", tokenizerHash: "", dataHash: "", family: "", maximumSequenceLength: 8,
                precision: precision), family, sideStacks: stacks,
            samples: [.train: try SplitSamples(dataset, family, head: head, pooling: .mean)],
            readsValidation: true)
    }

    private func bert(_ precision: CachePrecision = .float32) throws -> CacheContents {
        try contents(
            """
            {"model_type": "bert", "hidden_size": 64, "vocab_size": 50, "num_hidden_layers": 3, "num_attention_heads": 4,
             "intermediate_size": 128, "max_position_embeddings": 40}
            """, head: .classification(2), stacks: [.encoder], precision)
    }

    /// A fiftieth more than the numbers.
    private func stored(_ tokens: Int, layers: Int, _ width: Int = 4) -> Int {
        tokens * layers * 64 * width * 51 / 50
    }

    @Test("one rank that trains what it computes keeps it once", arguments: CachePrecision.allCases)
    func alone(precision: CachePrecision) throws {
        let plan = Plan.of([(0..<5, [0], [6])], microBatchCount: 1)
        let footprint = CacheFootprint(try bert(precision), plan, owners: [0, 0, 0, 0, 0, 0], worldSize: 1)
        // The embedding's rows and three blocks'; the head has none.
        let expected = [3, 1, 5].reduce(0) { $0 + stored($1, layers: 4, precision == .float32 ? 4 : 2) }
        let slots = [(offset: 0, element: 0), (offset: 1, element: 1), (offset: 2, element: 2)]
        #expect(footprint.bytes(.train, slots) == [expected])
        #expect(footprint.windowBytes(slots) == expected)
        #expect(footprint.bytes(.validation, slots) == [0])
    }

    @Test("each stage's rank keeps its layers, and the owner all of them")
    func stages() throws {
        // Micro-batches of three slots: of each, rank 0 takes two and rank 2 one, and rank 1 has the later layers.
        let plan = Plan.of([(0..<2, [0, 2], [2, 1]), (2..<5, [1], [3])], microBatchCount: 2)
        let owners = [0, 1, 2, 3, 0, 1]
        let footprint = CacheFootprint(try bert(), plan, owners: owners, worldSize: 4)
        let firsts = [0, 0, 2, 0, 0, 2]
        for samples in [[0, 1, 2, 3, 4, 5], [5, 4, 3], [2], []] {
            var expected = [0, 0, 0, 0]
            for (slot, sample) in samples.enumerated() {
                let tokens = Self.inputs[sample].count
                expected[firsts[slot]] += stored(tokens, layers: 2)
                expected[1] += stored(tokens, layers: 2)
                expected[owners[slot]] += stored(tokens, layers: 4)
            }
            let slots = Array(samples.enumerated())
            #expect(footprint.bytes(.train, slots) == expected)
            #expect(footprint.windowBytes(slots) == expected.max())
        }
    }

    @Test("data parallelism moves nothing, but a window's samples do")
    func dataParallel() throws {
        let plan = Plan.of([(0..<5, [1, 0], [2, 1])], microBatchCount: 2)
        let footprint = CacheFootprint(try bert(), plan, owners: [1, 1, 0, 1, 1, 0], worldSize: 2)
        let slots = Array([0, 1, 2, 3].enumerated())
        let expected = [stored(5, layers: 4), [3, 1, 2].reduce(0) { $0 + stored($1, layers: 4) }]
        #expect(footprint.bytes(.train, slots) == expected)
        #expect(footprint.windowBytes(slots) == 2 * expected.max()!)
        // One owner that does not compute its samples, and all of them count as moving.
        let moving = CacheFootprint(try bert(), plan, owners: [1, 1, 0, 0, 1, 0], worldSize: 2)
        let more = [0, 1, 2, 3].map { stored(Self.inputs[$0].count, layers: 4) }
        #expect(
            moving.bytes(.train, slots) == [expected[0] + more[2] + more[3], expected[1] + more[0] + more[1]])
    }

    @Test("both stacks of a model that writes count, each with its own tokens") func bothStacks() throws {
        let contents = try contents(
            """
            {"model_type": "t5", "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4,
             "vocab_size": 50}
            """, head: .languageModel, stacks: [.encoder, .decoder], .float32)
        // Embedding, two encoder blocks, two decoder blocks, head: the decoder's embedding comes with its first block.
        let plan = Plan.of([(0..<4, [0], [6]), (4..<6, [1], [6])], microBatchCount: 1)
        let footprint = CacheFootprint(contents, plan, owners: [1, 1, 1, 1, 1, 1], worldSize: 2)
        func numbers(_ encoder: Int, _ decoder: Int) -> Int { (encoder + decoder) * 64 * 4 * 51 / 50 }
        let slots = [(offset: 3, element: 3)]
        #expect(
            footprint.bytes(.train, slots) == [numbers(2 * 3, 3 * 2), numbers(0, 3) + numbers(2 * 3, 3 * 3)])
    }
}
