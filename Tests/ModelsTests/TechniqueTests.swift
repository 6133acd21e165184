import Models
import Support
import TensorCore
import Testing
import TinyModels

/// Every technique that is registered, whichever they are: what it reads it writes, and nobody can take it for another.
@Suite struct TechniqueTests {
    private static let kinds = TuningTechniques.all.map { $0.kind }

    private func type(_ kind: String) throws -> any TuningTechnique.Type {
        try #require(TuningTechniques.named(kind))
    }

    /// Reads a technique as it stands in the second line of an experiment.
    private func read(_ value: JSONValue) throws -> any TuningTechnique {
        let text = "{\n\"technique\": \(value.text())}"
        let document = try JSONValue(parsing: Array(text.utf8), file: "experiment.json")
        return try TuningTechniques.read(
            JSONReader(document, file: "experiment.json").object().optional("technique"))
    }

    // MARK: In an experiment

    @Test("kinds are distinct, and one of them is meant where none is named")
    func kindsAreDistinct() throws {
        #expect(Set(Self.kinds).count == Self.kinds.count)
        #expect(try TuningTechniques.read(nil).kind == "parallel_adapters")
        #expect(try read(.dictionary([])).json == ParallelAdapters().json)
        #expect(TuningTechniques.named("prompts") == nil)
    }

    @Test("a technique reads what it writes, and absent settings have their defaults", arguments: kinds)
    func aTechniqueReadsWhatItWrites(kind: String) throws {
        let standard = try type(kind).standard
        #expect(standard.kind == kind && standard.json["kind"]?.string == kind)
        #expect(try read(standard.json).json == standard.json)
        #expect(try read(.dictionary([("kind", .string(kind))])).json == standard.json)
    }

    @Test("each setting is read, written again, and checked", arguments: kinds)
    func eachSettingIsRead(kind: String) throws {
        for (key, value) in try type(kind).standard.settings {
            func with(_ value: JSONValue) -> JSONValue {
                .dictionary([("kind", .string(kind)), (key, value)])
            }
            let other = try self.other(than: value, refusal: { word in failure { _ = try read(with(word)) } })
            #expect(other != value, "\(key)")
            #expect(try read(with(other)).json[key] == other, "\(key)")
            let refusal = failure { _ = try read(with(.dictionary([]))) }
            #expect(refusal.hasPrefix("experiment.json:2: technique.\(key): expected "), "\(refusal)")
            #expect(refusal.hasSuffix("found an object"), "\(refusal)")
        }
        let stranger = failure { _ = try read(.dictionary([("kind", .string(kind)), ("stranger", 1)])) }
        let keys = ["kind"] + (try type(kind).standard.settings.map(\.key))
        #expect(
            stranger
                == "experiment.json:2: unknown key \"technique.stranger\". Known here: "
                + keys.joined(separator: ", ") + ".")
    }

    /// Another value of the same type. For a word it is one of those that the error for a wrong one names.
    private func other(than value: JSONValue, refusal: (JSONValue) -> String) throws -> JSONValue {
        switch value {
        case .integer(let number): return .integer(number + 1)
        case .number(let number): return .number(number + 0.5)
        case .bool(let flag): return .bool(!flag)
        case .null: return ["query"]
        case .string(let word):
            let quoted = refusal("no such word").split(separator: "\"").enumerated().filter {
                $0.offset % 2 == 1
            }
            let words = quoted.map { String($0.element) }.dropLast()
            return .string(try #require(words.first { $0 != word }))
        default: return value
        }
    }

    @Test("a kind that is not known is told with those that are, and the nearest")
    func aKindThatIsNotKnown() {
        func message(_ kind: String) -> String {
            failure { _ = try read(.dictionary([("kind", .string(kind))])) }
        }
        let known =
            "experiment.json:2: technique.kind: expected one of "
            + Self.kinds.map { "\"\($0)\"" }.joined(separator: ", ")
        #expect(message("prompts") == known + ", found the string \"prompts\"")
        #expect(message("lore") == known + ", found the string \"lore\". Did you mean \"lora\"?")
        #expect(
            message("parallel_adapter")
                == known + ", found the string \"parallel_adapter\". Did you mean \"parallel_adapters\"?")
    }

    // MARK: In a model

    @Test("a technique is cacheable exactly if it trains nothing inside the backbone", arguments: kinds)
    func aTechniqueIsCacheableExactlyIf(kind: String) throws {
        let technique = try type(kind).standard
        for model in TinyModel.all {
            let family = try model.family()
            let (frozen, trainable) = (DeclaringSource(), DeclaringSource())
            _ = try BackboneSlice(
                family, steps: family.steps(of: 0..<family.plannerLayers.count),
                source: technique.source(frozen: frozen, trainable: trainable, family))
            #expect(technique.isCacheable == trainable.declarations.isEmpty)
        }
    }

    @Test("a reference case's settings give the tensors that its manifest lists", arguments: TinyModel.all)
    func aReferenceCasesSettings(model: TinyModel) throws {
        let path = TinyModel.references + "/manifest.json"
        let manifest = try JSONReader(JSONValue(contentsOf: path), file: path).object()
        let entry = try manifest.required("cases").object().required(model.name).object()
        let listed = try entry.required("trainable").object()
        let family = try model.family()
        for type in TuningTechniques.all {
            let expected = try listed.required(type.kind).object().all.map { name, shape in
                "\(name) \(try shape.array().map { try $0.integer() })"
            }
            let found = try StageModel.declarations(
                family,
                .init(technique: type.init(referenceCase: entry), head: model.head, pooling: .cls),
                steps: family.steps(of: 0..<family.plannerLayers.count))
            #expect(Set(found.map { "\($0.name) \($0.shape)" }) == Set(expected), "\(type.kind)")
            #expect(found.count == expected.count, "\(type.kind)")
        }
    }

    @Test("a comparison cannot start from zeros") func aComparisonCannotStartFromZeros() throws {
        let drawn = ParallelAdapters(initialization: .random, merge: .sideOnly)
        let message = failure { try drawn.check(.regression, .pair) }
        #expect(
            message.hasPrefix("task.pooling: expected \"cls\" or \"mean\" for a side network that is drawn"))
        #expect(message.hasSuffix("found \"pair\""))
        try drawn.check(.languageModel, .pair)
        try drawn.check(.regression, .mean)
        try ParallelAdapters(initialization: .random).check(.regression, .pair)
        try ParallelAdapters(merge: .sideOnly).check(.regression, .pair)
    }

    // MARK: In an adapter's directory

    /// The trained tensors of a classifier, as the model and as an adapter's file name them.
    private func names(_ kind: String) throws -> (model: [String], file: [String]) {
        let (model, technique) = (TinyModel.named("bert_cls"), try type(kind).standard)
        let family = try model.family()
        let names = try StageModel.declarations(
            family, .init(technique: technique, head: model.head, pooling: .cls),
            steps: family.steps(of: 0..<family.plannerLayers.count)
        ).map(\.name)
        return (names, names.map(technique.storedName))
    }

    @Test("no two tensors are stored under one name", arguments: kinds)
    func noTwoTensorsAreStoredUnderOneName(kind: String) throws {
        let names = try names(kind)
        #expect(!names.model.isEmpty && Set(names.file).count == names.model.count)
    }

    @Test("LoRA's tensors have PEFT's names, others their own")
    func lorasTensorsHavePEFTsNames() throws {
        let lora = try names("lora")
        #expect(lora.file == lora.model.map { "base_model.model.\($0)" })
        for kind in ["full", "adapters", "parallel_adapters"] {
            let names = try names(kind)
            #expect(names.file == names.model, "\(kind)")
        }
    }

    @Test("titles and peft_type tell techniques apart, and a page has all its parts")
    func titlesAndPEFTTypeTellTechniquesApart() throws {
        for model in TinyModel.all {
            let family = try model.family()
            let pages = TuningTechniques.all.map { $0.standard.page(family) }
            #expect(Set(pages.map(\.title)).count == pages.count)
            #expect(Set(pages.map(\.tensors)).count == pages.count)
            #expect(pages.allSatisfy { !$0.title.isEmpty && !$0.tensors.isEmpty })
            // The commands that use the directory follow.
            #expect(pages.allSatisfy { $0.use.hasSuffix(":") })
            let keys = TuningTechniques.all.map { $0.standard.peftKeys(family, model.head) }
            #expect(keys.allSatisfy { $0.first?.0 == "peft_type" })
            #expect(Set(keys.compactMap { $0.first?.1.string }).count == keys.count)
        }
    }

    @Test("only a technique whose every tensor is the model's saves a model of its own", arguments: kinds)
    func onlyATechniqueWhoseEveryTensor(kind: String) throws {
        let (model, technique) = (TinyModel.named("t5_v1_1"), try type(kind).standard)
        let family = try model.family()
        let inventory = try StageModel.inventory(
            family, .init(technique: technique, head: model.head, pooling: .cls),
            steps: family.steps(of: 0..<family.plannerLayers.count))
        #expect(technique.isWholeModel == inventory.frozen.isEmpty)
    }

    /// The keys of PEFT's `LoraConfig`, for a classifier, an encoder-decoder and a decoder that write.
    @Test(
        "LoRA's directory has PEFT's keys",
        arguments: [
            ("bert_cls", "SEQ_CLS", ["query", "value"], ["classifier"]),
            ("bart_cls", "SEQ_CLS", ["q_proj", "v_proj"], ["classification_head"]),
            ("t5_v1_0", "SEQ_2_SEQ_LM", ["q", "v"], nil), ("llama", "CAUSAL_LM", ["q_proj", "v_proj"], nil),
        ] as [(String, String, [String], [String]?)])
    func lorasDirectoryHasPEFTsKeys(name: String, task: String, targets: [String], saved: [String]?) throws {
        let model = TinyModel.named(name)
        let keys = LowRankAdaptation(rank: 3, alpha: 6, dropout: 0.25).peftKeys(
            try model.family(), model.head)
        func list(_ words: [String]) -> JSONValue { .array(words.map(JSONValue.string)) }
        #expect(
            JSONValue.dictionary(keys)
                == .dictionary([
                    ("peft_type", "LORA"), ("task_type", .string(task)), ("r", 3), ("lora_alpha", 6.0),
                    ("lora_dropout", 0.25), ("bias", "none"), ("fan_in_fan_out", false),
                    ("inference_mode", true), ("target_modules", list(targets)),
                    ("modules_to_save", saved.map(list) ?? .null),
                ]))
    }

    @Test("a side network's gates are those that its directory names") func aSideNetworksGates() throws {
        let keys = ParallelAdapters(reductionFactor: 4, adapter: .linear, merge: .sideOnly).peftKeys(
            try TinyModel.named("bert_cls").family(), .regression)
        #expect(
            JSONValue.dictionary(keys)
                == .dictionary([
                    ("peft_type", "PARALLEL_ADAPTERS"), ("reduction_factor", 4), ("adapter", "linear"),
                    ("merge", "side_only"), ("gate_temperature", 0.1),
                ]))
    }

    // MARK: In a simulation

    @Test("what is trained has the sizes that the tensors have") func whatIsTrainedHasTheSizes() throws {
        let family = try TinyModel.named("bert_cls").family()
        guard case .all = FullTuning().trainedParts(of: family) else {
            Issue.record("full tuning trains everything")
            return
        }
        guard case .bottlenecks(8) = BottleneckAdapters(reductionFactor: 4).trainedParts(of: family),
            case .bottlenecks(1) = BottleneckAdapters(reductionFactor: 32).trainedParts(of: family)
        else {
            Issue.record("a bottleneck is hidden size / k wide, and 1 at least")
            return
        }
        guard
            case .lowRank(5, hasDropout: true) = try LowRankAdaptation(rank: 5, dropout: 0.1).trainedParts(
                of: family),
            case .lowRank(2, hasDropout: false) = try LowRankAdaptation(rank: 2).trainedParts(of: family)
        else {
            Issue.record("LoRA has its rank, and a dropout where one is asked for")
            return
        }
        guard case .sideNetwork(let side) = try ParallelAdapters(reductionFactor: 4).trainedParts(of: family)
        else {
            Issue.record("Parallel Adapters train a side network")
            return
        }
        #expect(side.hiddenSize == family.hiddenSize / 4 && side.stacks == family.stacks)
    }

    @Test("settings without formulas are errors of a simulation") func settingsWithoutFormulas() throws {
        let family = try TinyModel.named("bert_cls").family()
        #expect(
            failure { _ = try ParallelAdapters(adapter: .linear).trainedParts(of: family) }
                == "technique.adapter: expected \"transformer\", as a simulation has no formulas for others, found "
                + "\"linear\"")
        #expect(
            failure { _ = try LowRankAdaptation(targets: ["query"]).trainedParts(of: family) }
                == "technique.targets: expected null, query and value, as a simulation has no formulas for others"
        )
    }
}
