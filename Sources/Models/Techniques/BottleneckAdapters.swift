import Support
import TensorCore

/// Houlsby's adapters (2019): behind the self-attention and the feed-forward of every block, on their result y before the
/// residual addition, y + D_up SiLU(D_down y + c_1) + c_2. Matrices start as N(0, 0.02), biases at zero.
package struct BottleneckAdapters: TuningTechnique, Equatable {
    package static let kind = "adapters"
    /// How many times narrower than the model the bottleneck is.
    package var reductionFactor: Int

    package init(reductionFactor: Int = 16) { self.reductionFactor = reductionFactor }

    package func source(
        frozen: any ParameterSource, trainable: any ParameterSource, _ family: any ModelFamily
    ) -> any ParameterSource {
        InstallingSource(
            parameters: frozen,
            behind: { name, size in
                try Bottleneck(name, size: size, width: width(for: size), trainable)
            })
    }

    /// The width of a bottleneck on results of a size.
    private func width(for size: Int) -> Int { max(1, size / reductionFactor) }

    package func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]? {
        guard declaration.name.contains("_adapter.") else { return nil }
        guard declaration.shape.count == 2 else { return [Float](repeating: 0, count: declaration.count) }
        return normalNumbers(
            declaration.count, standardDeviation: 0.02, CounterRandom(seed: seed, name: declaration.name))
    }

    /// - Throws: when the bottleneck would be wider than the model.
    package func check(_ family: any ModelFamily) throws {
        guard reductionFactor <= family.hiddenSize else {
            throw Failure.configuration(
                "technique.reduction_factor: expected at most \(family.hiddenSize), the model's hidden size, found "
                    + "\(reductionFactor)")
        }
    }
}

// In an experiment, an adapter's directory, a simulation and the reference vectors.
extension BottleneckAdapters {
    package static var standard: Self { Self() }

    package var settings: [(key: String, value: JSONValue)] {
        [("reduction_factor", JSONValue(reductionFactor))]
    }

    package mutating func read(_ object: JSONObjectReader) throws {
        if let value = object.optional("reduction_factor") {
            reductionFactor = try value.integer(in: 1...1 << 20)
        }
    }

    package func peftKeys(_ family: any ModelFamily, _ head: HeadKind) -> [(String, JSONValue)] {
        [("peft_type", "BOTTLENECK_ADAPTERS")]
    }

    package func page(_ family: any ModelFamily) -> TechniquePage {
        TechniquePage(
            title: "Adapters",
            tensors: """
                `attn_adapter` and `ffn_adapter` of every block (Houlsby's bottlenecks, reduction factor
                  \(reductionFactor)), and the task's head.
                """,
            use: "They need the same model to run:")
    }

    package func trainedParts(of family: any ModelFamily) -> TrainedParts {
        .bottlenecks(width: width(for: family.hiddenSize))
    }

    package init(referenceCase entry: JSONObjectReader) throws {
        let settings = try entry.required(Self.kind).object()
        self.init(reductionFactor: try settings.required("reduction_factor").integer(in: 1...1024))
    }
}

/// up(SiLU(down(x))).
struct Bottleneck: Branch {
    private let down: Dense
    private let up: Dense

    init(_ name: String, size: Int, width: Int, _ source: any ParameterSource) throws {
        down = try Dense(name + ".down", from: size, to: width, hasBias: true, source)
        up = try Dense(name + ".up", from: width, to: size, hasBias: true, source)
    }

    func callAsFunction(_ x: Tensor, _ dropout: DropoutKeys?, spans: [Range<Int>]) -> Tensor {
        up(activation(down(x), .silu))
    }
}
