import Support
import TensorCore

/// A way to fine-tune: what of a model is trained, and where it attaches.
///
/// A technique installs itself on the layers of a backbone while they are built, through the source of their parameters:
/// it decides which parameters are trained, and may attach a small network (`Branch`) to a layer. No layer knows which
/// technique it serves. Parallel Adapters attach nothing: they run beside the backbone.
public protocol TuningTechnique: Sendable {
    /// The name in an experiment: "full", "lora", "adapters", "parallel_adapters".
    static var kind: String { get }
    /// Along which lane gradients flow back through the layers. The other lane is never differentiated.
    var gradientLane: LaneKind { get }
    /// A dropout of the technique's own, beside the model's.
    var ownDropout: Double { get }
    /// The source that a backbone's layers and the head's frozen parts are built from.
    func source(
        frozen: any ParameterSource, trainable: any ParameterSource, _ family: any ModelFamily
    ) -> any ParameterSource
    /// The network beside the backbone; nil for techniques that train inside it.
    ///
    /// - Throws: when its sizes do not fit the model.
    func sideDescription(_ family: any ModelFamily) throws -> SideDescription?
    /// The start of a parameter that the technique adds; nil for those that start from the checkpoint.
    func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]?
    /// Checks that the technique finds in a model what it attaches to.
    func check(_ family: any ModelFamily) throws
}

extension TuningTechnique {
    public var kind: String { Self.kind }
    public var gradientLane: LaneKind { .backbone }
    public var ownDropout: Double { 0 }
    public func sideDescription(_ family: any ModelFamily) throws -> SideDescription? { nil }
    public func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]? { nil }
    public func check(_ family: any ModelFamily) throws {}
    /// Whether the backbone's activations are invariants of a sample, which is what a cache needs: only where nothing in
    /// the backbone is trained.
    public var isCacheable: Bool { gradientLane == .side }
}

/// A small trained network that a technique attaches to a layer.
public protocol Branch {
    /// What the layer's result gains.
    ///
    /// - Shapes: x [n, in]; result [n, out].
    func callAsFunction(_ x: Tensor, _ dropout: DropoutKeys?, spans: [Range<Int>]) -> Tensor
}

/// A source that gives a backbone's parameters and attaches a technique's branches.
struct InstallingSource: ParameterSource {
    let parameters: any ParameterSource
    var beside: (String, Int, Int) throws -> (any Branch)? = { _, _, _ in nil }
    var behind: (String, Int) throws -> (any Branch)? = { _, _ in nil }

    func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        try parameters.parameter(name, shape, sharingGroup: sharingGroup)
    }

    func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight {
        try parameters.weight(name, shape, sharingGroup: sharingGroup)
    }

    func branch(besideLinear name: String, from inputSize: Int, to outputSize: Int) throws -> (any Branch)? {
        try beside(name, inputSize, outputSize)
    }

    func branch(behindSublayer name: String, size: Int) throws -> (any Branch)? { try behind(name, size) }
}
