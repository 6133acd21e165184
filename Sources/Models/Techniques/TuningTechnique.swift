import Support
import TensorCore

/// A way to fine-tune: what of a model is trained, where it attaches, and how it appears outside: in an experiment, in the
/// directory of a saved adapter, in a simulation and among the reference vectors.
///
/// A technique installs itself on the layers of a backbone while they are built, through the source of their parameters:
/// it decides which parameters are trained, and may attach a small network (`Branch`) to a layer. No layer knows which
/// technique it serves. Parallel Adapters attach nothing: they run beside the backbone.
///
/// A technique is one file with all of this, and one line in `TuningTechniques.all`.
package protocol TuningTechnique: Sendable {
    // MARK: In a model

    /// A dropout of the technique's own, beside the model's.
    var ownDropout: Double { get }
    /// The network that is trained beside the frozen backbone, on activations that may come from a cache; nil for techniques
    /// that train inside the backbone.
    var side: ParallelAdapters? { get }
    /// The source that a backbone's layers and the head's frozen parts are built from.
    func source(
        frozen: any ParameterSource, trainable: any ParameterSource, _ family: any ModelFamily
    ) -> any ParameterSource
    /// The start of a parameter that the technique adds; nil for those that start from the checkpoint.
    func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]?
    /// Checks that the technique finds in a model what it attaches to.
    func check(_ family: any ModelFamily) throws
    /// Checks that a task's head can learn from what it reads at the start.
    func check(_ head: HeadKind, _ pooling: Pooling) throws

    // MARK: In an experiment

    /// The name in an experiment, as "lora".
    static var kind: String { get }
    /// The technique where an experiment gives its kind and no settings.
    static var standard: Self { get }
    /// Every setting as an experiment writes it, in order. These are the keys that the kind has.
    var settings: [(key: String, value: JSONValue)] { get }
    /// Takes over the settings that are there; the others stay.
    ///
    /// - Throws: when a value has the wrong type or is out of range.
    mutating func read(_ object: JSONObjectReader) throws

    // MARK: In an adapter's directory

    /// Whether what is trained is a model of its own, which other programs can load without another.
    var isWholeModel: Bool { get }
    /// The name under which an adapter's file holds a parameter.
    func storedName(of name: String) -> String
    /// What tells Hugging Face's PEFT, and other readers of `adapter_config.json`, which technique this is.
    func peftKeys(_ family: any ModelFamily, _ head: HeadKind) -> [(String, JSONValue)]
    /// What the page beside a saved adapter says of the technique.
    func page(_ family: any ModelFamily) -> TechniquePage

    // MARK: In a simulation

    /// What is trained, with the sizes that matter.
    ///
    /// - Throws: a configuration failure for settings that a simulation has no formulas for.
    func trainedParts(of family: any ModelFamily) throws -> TrainedParts

    // MARK: Among the reference vectors

    /// The technique with the settings of a reference case.
    ///
    /// - Parameter entry: the case's object in the manifest.
    init(referenceCase entry: JSONObjectReader) throws
}

extension TuningTechnique {
    package var kind: String { Self.kind }
    package var ownDropout: Double { 0 }
    package var side: ParallelAdapters? { nil }
    package var isWholeModel: Bool { false }
    package func startValues(of declaration: ParameterBucket.Declaration, seed: UInt64) -> [Float]? { nil }
    package func check(_ family: any ModelFamily) throws {}
    package func check(_ head: HeadKind, _ pooling: Pooling) throws {}
    package func storedName(of name: String) -> String { name }

    /// Along which lane gradients flow back through the layers. The other lane is never differentiated.
    package var gradientLane: LaneKind { side == nil ? .backbone : .side }
    /// Whether the backbone's activations are invariants of a sample, which is what a cache needs: only where nothing in
    /// the backbone is trained.
    package var isCacheable: Bool { side != nil }
}

/// What the page beside a saved adapter says of its technique, in Markdown.
package struct TechniquePage: Sendable, Equatable {
    /// The technique's name, as a heading begins with it.
    package let title: String
    /// What the file of tensors holds: an item of a list, whose later lines are indented.
    package let tensors: String
    /// What the directory is good for; the commands that use it follow.
    package let use: String
}

/// What a technique trains of a model, for whoever reckons with sizes and builds nothing.
package enum TrainedParts: Sendable {
    /// Every parameter of the model.
    case all
    /// Bottlenecks of this width behind the self-attention and the feed-forward of every block.
    case bottlenecks(width: Int)
    /// Low-rank matrices beside query and value of every attention, which a dropout of their own may precede.
    case lowRank(rank: Int, hasDropout: Bool)
    /// A network of narrower blocks beside the frozen model: those of the reduced family.
    case sideNetwork(any ModelFamily)
}

/// A small trained network that a technique attaches to a layer.
package protocol Branch {
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
