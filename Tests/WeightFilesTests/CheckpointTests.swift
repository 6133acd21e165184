import Models
import Support
import TensorCore
import Testing
import TinyModels
import WeightFiles

@Suite struct CheckpointTests {
    private let scratch: ScratchDirectory
    private let ledger = Ledger()
    private let bert = TinyModel.all[0]

    init() throws { scratch = try ScratchDirectory() }

    /// A copy of a tiny checkpoint with other names, tensors or several files.
    private func copy(
        _ model: TinyModel, files: Int = 1, rename: (String) -> String? = { $0 },
        adding: [(name: String, shape: [Int], values: [Float])] = [],
        shape: ([Int]) -> [Int] = { $0 }
    ) throws {
        let from = try SafetensorsFile(model.directory + "/checkpoint/model.safetensors")
        var parts: [[(name: String, shape: [Int], values: [Float])]] = .init(repeating: [], count: files)
        for (i, name) in from.entries.keys.sorted().enumerated() {
            guard let renamed = rename(name) else { continue }
            parts[i % files].append((renamed, shape(from.entries[name]!.shape), try from.floats(name)))
        }
        parts[0] += adding
        try writeFileAtomically(
            try readFile(model.directory + "/checkpoint/config.json"), to: scratch.path + "/config.json")
        guard files > 1 else {
            return try writeSafetensors(parts[0], to: scratch.path + "/model.safetensors")
        }
        var map: [(String, JSONValue)] = []
        for (i, part) in parts.enumerated() {
            let file = "model-0000\(i + 1).safetensors"
            try writeSafetensors(part, to: scratch.path + "/" + file)
            map += part.map { ($0.name, .string(file)) }
        }
        let index = JSONValue.dictionary([("weight_map", .dictionary(map))])
        try writeFileAtomically(index.text(), to: scratch.path + "/model.safetensors.index.json")
    }

    private func source(_ model: TinyModel) throws -> CheckpointSource {
        CheckpointSource(try Checkpoint(scratch.path), family: try model.family(), ledger: ledger)
    }

    /// What the backbone and a drawn head make of a batch, with every frozen tensor of the model from a source.
    private func result(_ model: TinyModel, _ source: any ParameterSource) throws -> [Float] {
        let (batch, family) = (try model.batch(), try model.family())
        let steps = family.steps(of: 0..<family.plannerLayers.count)
        let slice = try BackboneSlice(family, steps: steps, source: source)
        let head = try TaskHead(
            family, model.head, pooling: .cls,
            model: source, frozen: source, trainable: RandomSource(seed: 1, ledger: ledger))
        var lane: Lane?
        for step in steps { lane = slice.advance(lane, step, batch) }
        return head.logits(head.backboneRows(lane!.hidden, head.selection(batch), batch)).values
    }

    /// Compares a copy with the original.
    private func expectSameBackbone(_ model: TinyModel) throws {
        #expect(try result(model, source(model)) == result(model, model.source(ledger)))
    }

    @Test("old names, and names without the model's prefix") func oldNamesAndNamesWithoutTheModelsPrefix()
        throws
    {
        try copy(bert) { name in
            name.replacing("LayerNorm.weight", with: "LayerNorm.gamma").replacing(
                "LayerNorm.bias", with: "LayerNorm.beta")
        }
        try expectSameBackbone(bert)
        try copy(bert) { $0.hasPrefix("bert.") ? String($0.dropFirst(5)) : $0 }
        try expectSameBackbone(bert)
        try copy(bert) { name in
            let old = name.replacing("LayerNorm.weight", with: "LayerNorm.gamma").replacing(
                "LayerNorm.bias", with: "LayerNorm.beta")
            return old.hasPrefix("bert.") ? String(old.dropFirst(5)) : old
        }
        try expectSameBackbone(bert)
    }

    @Test(
        "a tied embedding under any of its names",
        arguments: ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"])
    func aTiedEmbeddingUnderAnyOfItsNames(name: String) throws {
        let tied = TinyModel.all[2]
        try copy(tied) { $0 == "shared.weight" ? name : $0 }
        try expectSameBackbone(tied)
        // Untied, the head's matrix is another tensor.
        let untied = TinyModel.all[3]
        try copy(untied) { $0 == "shared.weight" || $0 == "lm_head.weight" ? nil : $0 }
        #expect(throws: Failure.self) { _ = try source(untied).parameter("shared.weight", [384, 32]) }
    }

    @Test("a language model's names with and without the prefix, its tied matrix under either name")
    func namesOfDecoderOnlyModels() throws {
        let (llama, qwen2) = (TinyModel.named("llama"), TinyModel.named("qwen2"))
        try copy(llama) { $0.hasPrefix("model.") ? String($0.dropFirst(6)) : $0 }
        try expectSameBackbone(llama)
        try copy(qwen2) { $0 == "model.embed_tokens.weight" ? "lm_head.weight" : $0 }
        try expectSameBackbone(qwen2)
        // Untied, the embedding is no head.
        try copy(llama) { $0 == "lm_head.weight" ? nil : $0 }
        #expect(failure { try expectSameBackbone(llama) }.contains("\"lm_head.weight\" is missing"))
    }

    @Test(
        "BART's names without the prefix, its shared matrix under any name",
        arguments: [
            "shared.weight", "model.encoder.embed_tokens.weight", "decoder.embed_tokens.weight",
            "lm_head.weight",
        ])
    func namesOfBart(name: String) throws {
        let bart = TinyModel.named("bart_cls")
        try copy(bart) { original in
            if original == "model.shared.weight" { return name }
            return name.hasPrefix("model.") || !original.hasPrefix("model.")
                ? original : String(original.dropFirst(6))
        }
        try expectSameBackbone(bart)
    }

    @Test("BART's language model adds the bias of its logits, which a file may lack")
    func bartsLogitsBias() throws {
        let bart = TinyModel.named("bart_cls")
        let bias = (0..<400).map { Float($0) / 100 }
        func logits(_ source: CheckpointSource) throws -> [Float] {
            let head = try TaskHead(
                bart.family(), .languageModel, pooling: .cls, model: source, frozen: source, trainable: source
            )
            let z = Tensor([Float](repeating: 0.5, count: 32), rows: 1, columns: 32, ledger: ledger)
            return head.logits(z).values
        }
        let without = try logits(bart.source(ledger))
        try copy(bart, adding: [("final_logits_bias", [1, 400], bias)])
        #expect(try logits(source(bart)) == zip(without, bias).map { $0 + $1 })
    }

    @Test("tensors that no layer of today reads are passed over") func obsoleteTensors() throws {
        let t5 = TinyModel.named("t5_v1_0")
        let obsolete = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
        try copy(t5, adding: [(obsolete, [2, 2], [1, 2, 3, 4])])
        try expectSameBackbone(t5)
        let llama = TinyModel.named("llama")
        try copy(llama, adding: [("model.layers.0.self_attn.rotary_emb.inv_freq", [2], [7, 7])])
        try expectSameBackbone(llama)
    }

    @Test("half-precision checkpoints are read exactly", arguments: ["F16", "BF16"], ["llama", "bart_cls"])
    func halfPrecisionCheckpoints(type: String, name: String) throws {
        let model = TinyModel.named(name)
        func logits() throws -> [Float] { try result(model, source(model)) }
        try model.writeExpanded(type, to: scratch.path)
        let expected = try logits()
        try model.writeHalf(type, to: scratch.path)
        #expect(try logits() == expected)
        #expect(try result(model, model.source(ledger)) != expected, "the original has more digits")
    }

    @Test("several files with an index") func severalFilesWithAnIndex() throws {
        try copy(TinyModel.all[3], files: 3)
        try expectSameBackbone(TinyModel.all[3])
    }

    @Test("an index that is wrong is an error that names the file and the tensor")
    func anIndexThatIsWrongIsAnErrorThatNamesTheFileAndTheTensor() throws {
        let index = scratch.path + "/model.safetensors.index.json"
        try copy(bert, files: 2)
        try writeFileAtomically("{\"weight_map\": {\n\"nobody\": \"model-00001.safetensors\"}}", to: index)
        let message = failure { _ = try Checkpoint(scratch.path) }
        #expect(
            message.hasPrefix(index + ":2") && message.contains("\"nobody\" is missing from"), "\(message)")
        try writeFileAtomically("{\"weight_map\": {\"a\": \"absent.safetensors\"}}", to: index)
        #expect(failure { _ = try Checkpoint(scratch.path) }.contains("/absent.safetensors: cannot be read"))
    }

    @Test("missing tensors and other shapes are errors that name both")
    func missingTensorsAndOtherShapesAreErrorsThatNameBoth() throws {
        let pooler = "bert.pooler.dense.weight"
        try copy(bert, rename: { $0 == pooler ? nil : $0 })
        let missing = failure { _ = try source(bert).parameter(pooler, [32, 32]) }
        #expect(missing == "\(scratch.path): the tensor \"\(pooler)\" is missing from the checkpoint")
        try copy(bert, shape: { $0 == [32, 32] ? [16, 64] : $0 })
        let message = failure { _ = try source(bert).parameter(pooler, [32, 32]) }
        #expect(message.hasPrefix(scratch.path + "/model.safetensors: tensor \"\(pooler)\""), "\(message)")
        #expect(message.contains("expected shape [32, 32] from \(scratch.path)/config.json, found [16, 64]"))
    }

    @Test("a directory without weights or configuration is an error")
    func aDirectoryWithoutWeightsOrConfigurationIsAnError() throws {
        #expect(failure { _ = try Checkpoint(scratch.path) }.hasPrefix(scratch.path + "/config.json"))
        try writeFileAtomically("{}", to: scratch.path + "/config.json")
        #expect(failure { _ = try Checkpoint(scratch.path) }.hasPrefix(scratch.path + "/model.safetensors"))
    }
}
