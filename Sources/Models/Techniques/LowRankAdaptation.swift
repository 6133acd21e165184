import Support
import TensorCore

/// LoRA (Hu et al. 2021) as Hugging Face's PEFT has it: beside each target matrix W, y = x Wᵀ + b + s (drop(x) Aᵀ) Bᵀ with
/// s = alpha / rank. A starts uniform in ±1/√in, B at zero.
package struct LowRankAdaptation: TuningTechnique, Equatable {
    package static let kind = "lora"
    package var rank: Int
    package var alpha: Double
    package var dropout: Double
    /// Last parts of the names of linear layers; nil for PEFT's of the family.
    package var targets: [String]?

    package init(rank: Int = 8, alpha: Double = 8, dropout: Double = 0, targets: [String]? = nil) {
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.targets = targets
    }

    package var ownDropout: Double { dropout }

    /// The targets of a family: those named, or PEFT's.
    package func targets(_ family: any ModelFamily) -> [String] { targets ?? family.lowRankTargets }

    package func source(
        frozen: any ParameterSource, trainable: any ParameterSource, _ family: any ModelFamily
    ) -> any ParameterSource {
        let targets = targets(family)
        return InstallingSource(
            parameters: frozen,
            beside: { name, inputSize, outputSize in
                guard targets.contains(where: { Self.matches(name, $0) }) else { return nil }
                return try LowRankBranch(
                    name, from: inputSize, to: outputSize, rank: rank, scaling: Float(alpha / Double(rank)),
                    dropout: dropout, trainable)
            })
    }

    package func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]? {
        let random = CounterRandom(seed: seed, name: declaration.name)
        if declaration.name.hasSuffix(".lora_A.weight") {
            let bound = 1 / Double(declaration.shape[1]).squareRoot()
            return (0..<declaration.count).map {
                Float((2 * random.uniform(at: UInt64($0)) - 1) * bound)
            }
        }
        return declaration.name.hasSuffix(".lora_B.weight")
            ? [Float](repeating: 0, count: declaration.count) : nil
    }

    /// - Throws: when a target matches no linear layer of the model's blocks, naming those that there are.
    package func check(_ family: any ModelFamily) throws {
        let linears = family.linearLayers
        for target in targets(family) where !linears.contains(where: { Self.matches($0, target) }) {
            let names = Set(linears.map { String($0.split(separator: ".").last!) }).sorted()
            throw Failure.configuration(
                "technique.targets: expected names of linear layers of the \(family.name) model's blocks, such as "
                    + names.map { "\"\($0)\"" }.joined(separator: ", ") + ", found \"\(target)\"")
        }
    }

    /// Whether a target names a layer: by its full name, or its last parts.
    private static func matches(_ name: String, _ target: String) -> Bool {
        name == target || name.hasSuffix("." + target)
    }
}

// In an experiment, an adapter's directory, a simulation and the reference vectors. The directory has the names and keys of
// Hugging Face's PEFT, which can load it.
extension LowRankAdaptation {
    package static var standard: Self { Self() }

    package var settings: [(key: String, value: JSONValue)] {
        [
            ("rank", JSONValue(rank)), ("alpha", JSONValue(alpha)), ("dropout", JSONValue(dropout)),
            ("targets", targets.map { .array($0.map(JSONValue.string)) } ?? .null),
        ]
    }

    package mutating func read(_ object: JSONObjectReader) throws {
        if let value = object.optional("rank") { rank = try value.integer(in: 1...1 << 16) }
        if let value = object.optional("alpha") { alpha = try value.number(in: 1e-6...1e6) }
        if let value = object.optional("dropout") { dropout = try value.number(in: 0...0.99) }
        if let value = object.optional("targets") {
            let names = try value.array().map { try $0.string() }
            guard !names.isEmpty else { throw value.failure(expected: "at least one name, or null") }
            targets = names
        }
    }

    package func storedName(of name: String) -> String { "base_model.model." + name }

    package func peftKeys(_ family: any ModelFamily, _ head: HeadKind) -> [(String, JSONValue)] {
        let isWriter = head == .languageModel
        let saved = family.head.classifier.output.split(separator: ".")[0]
        return [
            ("peft_type", "LORA"),
            ("task_type", isWriter ? (family.stacks.count > 1 ? "SEQ_2_SEQ_LM" : "CAUSAL_LM") : "SEQ_CLS"),
            ("r", JSONValue(rank)), ("lora_alpha", JSONValue(alpha)), ("lora_dropout", JSONValue(dropout)),
            ("bias", "none"), ("fan_in_fan_out", false), ("inference_mode", true),
            ("target_modules", .array(targets(family).map(JSONValue.string))),
            ("modules_to_save", isWriter ? .null : [.string(String(saved))]),
        ]
    }

    package func page(_ family: any ModelFamily) -> TechniquePage {
        let targets = targets(family).map { "`\($0)`" }.joined(separator: ", ")
        return TechniquePage(
            title: "LoRA",
            tensors: """
                `lora_A` and `lora_B` of rank \(rank) for \(targets) of every
                  attention, under PEFT's names, and the task's head.
                """,
            use: """
                The directory is PEFT's: `PeftModel.from_pretrained(model, THIS_DIRECTORY)` loads it onto the same model (PEFT
                says that it ignores the keys of `adapter_config.json` that are pac-mpi's). The classifier reads the tokens that
                `pooling` names: only with `cls` is that what Hugging Face's classes do. Here:
                """)
    }

    package func trainedParts(of family: any ModelFamily) throws -> TrainedParts {
        guard targets == nil else {
            throw Failure.configuration(
                "technique.targets: expected null, query and value, as a simulation has no formulas for others"
            )
        }
        return .lowRank(rank: rank, hasDropout: dropout > 0)
    }

    package init(referenceCase entry: JSONObjectReader) throws {
        let settings = try entry.required(Self.kind).object()
        self.init(
            rank: try settings.required("r").integer(in: 1...1024),
            alpha: try settings.required("alpha").number(),
            dropout: try settings.required("dropout").number(in: 0...0.99),
            targets: try settings.required("target_modules").array().map { try $0.string() })
    }
}

/// s (drop(x) Aᵀ) Bᵀ. Kept for backward: what A reads, and the [n, rank] between A and B.
private struct LowRankBranch: Branch {
    private let name: String
    private let a: Tensor
    private let b: Tensor
    private let scaling: Float
    private let dropout: Double

    init(
        _ name: String, from inputSize: Int, to outputSize: Int, rank: Int, scaling: Float, dropout: Double,
        _ trainable: any ParameterSource
    ) throws {
        self.name = name
        a = try trainable.parameter(name + ".lora_A.weight", [rank, inputSize])
        b = try trainable.parameter(name + ".lora_B.weight", [outputSize, rank])
        self.scaling = scaling
        self.dropout = dropout
    }

    func callAsFunction(_ x: Tensor, _ keys: DropoutKeys?, spans: [Range<Int>]) -> Tensor {
        let dropped = drop(x, keys, name + ".lora", spans: spans, probability: Float(dropout))
        return linear(scale(linear(dropped, weight: a), by: scaling), weight: b)
    }
}

extension ModelFamily {
    /// The linear layers of all blocks, by name.
    var linearLayers: [String] {
        stacks.flatMap { stack in
            (0..<stack.blockCount).flatMap { index in
                let block = block(stack.kind, index)
                return block.attentions.flatMap { [$0.query, $0.key, $0.value, $0.output] }
                    + block.feedForward.inputs + [block.feedForward.output]
            }
        }
    }

    /// PEFT's default targets: the query and value matrices of every attention.
    package var lowRankTargets: [String] {
        let attention = block(stacks[0].kind, 0).attentions[0]
        return [attention.query, attention.value].map { String($0.split(separator: ".").last!) }
    }
}
