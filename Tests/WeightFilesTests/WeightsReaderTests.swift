import Models
import Support
import TensorCore
import Testing
import TinyModels
import WeightFiles

/// Tensors in memory: a second kind of file.
private final class MemoryReader: WeightsReader {
    struct Entry {
        let shape: [Int]
        let format: WeightFormat
        let bytes: UnsafeMutableRawBufferPointer
    }

    let path: String
    private var entries: [String: Entry] = [:]

    init(_ path: String) { self.path = path }

    deinit { for entry in entries.values { entry.bytes.deallocate() } }

    func add(_ name: String, _ shape: [Int], _ values: [Float], _ format: WeightFormat) {
        let bytes = format.encoded(values)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        buffer.copyBytes(from: bytes)
        entries[name] = Entry(shape: shape, format: format, bytes: buffer)
    }

    var names: [String] { Array(entries.keys) }
    func shape(of name: String) -> [Int]? { entries[name]?.shape }
    func storedType(of name: String) -> String? { entries[name].map { "\($0.format)" } }
    func format(of name: String) -> WeightFormat? { entries[name]?.format }
    var fingerprint: String { "memory" }

    func weight(_ name: String, ledger: Ledger) throws -> Weight {
        guard let entry = entries[name] else { throw Failure.configuration("\(path): no \(name)") }
        let rows = entry.shape.count > 1 ? entry.shape[0] : 1
        return .stored(
            StoredMatrix(
                borrowing: UnsafeRawPointer(entry.bytes.baseAddress!), entry.format, rows: rows,
                columns: entry.shape.reduce(1, *) / rows, owner: self, ledger: ledger))
    }

    func tensor(_ name: String, ledger: Ledger, category: MemoryCategory) throws -> Tensor {
        let stored = try weight(name, ledger: Ledger())
        return Tensor(
            stored.values, rows: stored.rows, columns: stored.columns, category: category, ledger: ledger)
    }
}

@Suite struct WeightsReaderTests {
    private let ledger = Ledger()

    /// A tiny model's tensors in two readers.
    private func checkpoint(
        _ model: TinyModel, _ format: WeightFormat, without missing: String? = nil
    ) throws -> Checkpoint {
        let file = try SafetensorsFile(model.directory + "/checkpoint/model.safetensors")
        let readers = [MemoryReader("first part"), MemoryReader("second part")]
        for (i, name) in file.names.sorted().enumerated() where name != missing {
            readers[i % 2].add(name, file.shape(of: name)!, try file.floats(name), format)
        }
        return Checkpoint(
            directory: "memory",
            configuration: try Checkpoint.readConfiguration(model.directory + "/checkpoint"), files: readers)
    }

    private func logits(_ model: TinyModel, _ source: CheckpointSource) throws -> [Float] {
        let (family, batch) = (try model.family(), try model.batch())
        let stage = try StageModel(
            family,
            .init(
                technique: ParallelAdapters(reductionFactor: model.reductionFactor), head: .languageModel,
                pooling: .cls),
            steps: family.steps(of: 0..<family.plannerLayers.count), frozen: source, withBackbone: true,
            ledger: ledger)
        return stage.logits(stage.forward(nil, batch), batch).values
    }

    @Test("a model is the same from another kind of file", arguments: ["t5_v1_1", "llama", "qwen2"])
    func sameModel(name: String) throws {
        let model = TinyModel.named(name)
        let family = try model.family()
        let own = try logits(model, model.source(ledger))
        let checkpoint = try checkpoint(model, .float32)
        #expect(checkpoint.fingerprint == "memory+memory")
        let read = try logits(model, CheckpointSource(checkpoint, family: family, ledger: ledger))
        let scale = own.reduce(0) { max($0, abs($1)) }
        #expect(zip(own, read).allSatisfy { abs($0 - $1) <= 1e-5 * scale })
    }

    @Test("what another kind of file lacks is named as ever")
    func missingTensors() throws {
        let model = TinyModel.named("llama")
        let checkpoint = try checkpoint(model, .bfloat16, without: "lm_head.weight")
        let source = CheckpointSource(checkpoint, family: try model.family(), ledger: ledger)
        #expect(
            failure { _ = try source.weight("lm_head.weight", [1, 1]) }
                == "memory: the tensor \"lm_head.weight\" is missing from the checkpoint")
        let message = failure { _ = try source.weight("model.layers.0.self_attn.q_proj.weight", [1, 1]) }
        #expect(
            message.contains(
                " part: tensor \"model.layers.0.self_attn.q_proj.weight\": expected shape [1, 1]"),
            "\(message)")
    }

    @Test("safetensors tell types and formats, and give half-precision matrices as they are")
    func safetensors() throws {
        let scratch = try ScratchDirectory()
        let model = TinyModel.named("llama")
        for (type, format) in [("F16", WeightFormat.float16), ("BF16", .bfloat16)] {
            try model.writeHalf(type, to: scratch.path)
            let file = try SafetensorsFile(scratch.path + "/model.safetensors")
            let name = "model.layers.0.self_attn.q_proj.weight"
            #expect(file.storedType(of: name) == type && file.format(of: name) == format)
            #expect(file.storedType(of: "none") == nil && file.format(of: "none") == nil)
            let before = ledger.live(.weights)
            let weight = try file.weight(name, ledger: ledger)
            let count = file.shape(of: name)!.reduce(1, *)
            #expect(weight.format == format && ledger.live(.weights) - before == 2 * count)
            #expect(try weight.values == file.floats(name))
        }
        let original = try SafetensorsFile(model.directory + "/checkpoint/model.safetensors")
        #expect(try original.weight("lm_head.weight", ledger: ledger).format == .float32)
        #expect(failure { _ = try original.weight("none", ledger: ledger) }.hasSuffix("\"none\" is missing"))
    }
}
