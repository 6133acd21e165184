import Support
import TensorCore

/// LoRA (Hu et al. 2021) as Hugging Face's PEFT has it: beside each target matrix W, y = x Wᵀ + b + s (drop(x) Aᵀ) Bᵀ with
/// s = alpha / rank. A starts uniform in ±1/√in, B at zero.
public struct LowRankAdaptation: TuningTechnique, Equatable {
    public static let kind = "lora"
    public var rank: Int
    public var alpha: Double
    public var dropout: Double
    /// Last parts of the names of linear layers; nil for PEFT's of the family.
    public var targets: [String]?

    public init(rank: Int = 8, alpha: Double = 8, dropout: Double = 0, targets: [String]? = nil) {
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.targets = targets
    }

    public var ownDropout: Double { dropout }

    /// The targets of a family: those named, or PEFT's.
    public func targets(_ family: any ModelFamily) -> [String] { targets ?? family.lowRankTargets }

    public func source(
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

    public func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]? {
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
    public func check(_ family: any ModelFamily) throws {
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
    public var lowRankTargets: [String] {
        let attention = block(stacks[0].kind, 0).attentions[0]
        return [attention.query, attention.value].map { String($0.split(separator: ".").last!) }
    }
}
