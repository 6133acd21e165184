import Support
import TensorCore

/// Houlsby's adapters (2019): behind the self-attention and the feed-forward of every block, on their result y before the
/// residual addition, y + D_up SiLU(D_down y + c_1) + c_2. Matrices start as N(0, 0.02), biases at zero.
public struct BottleneckAdapters: TuningTechnique, Equatable {
    public static let kind = "adapters"
    /// How many times narrower than the model the bottleneck is.
    public var reductionFactor: Int

    public init(reductionFactor: Int = 16) { self.reductionFactor = reductionFactor }

    public func source(
        frozen: any ParameterSource, trainable: any ParameterSource, _ family: any ModelFamily
    ) -> any ParameterSource {
        InstallingSource(
            parameters: frozen,
            behind: { name, size in
                try Bottleneck(name, size: size, width: max(1, size / reductionFactor), trainable)
            })
    }

    public func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]? {
        guard declaration.name.contains("_adapter.") else { return nil }
        guard declaration.shape.count == 2 else { return [Float](repeating: 0, count: declaration.count) }
        return normalNumbers(
            declaration.count, standardDeviation: 0.02, CounterRandom(seed: seed, name: declaration.name))
    }

    /// - Throws: when the bottleneck would be wider than the model.
    public func check(_ family: any ModelFamily) throws {
        guard reductionFactor <= family.hiddenSize else {
            throw Failure.configuration(
                "technique.reduction_factor: expected at most \(family.hiddenSize), the model's hidden size, found "
                    + "\(reductionFactor)")
        }
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
