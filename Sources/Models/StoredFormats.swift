import TensorCore
import WeightFiles

/// How the frozen matrices of a model are stored, which says what they take of memory before any is read.
package struct StoredFormats: Sendable {
    /// Of the matrices that are not float32, by the names that layers ask for.
    private let formats: [String: WeightFormat]

    package init(_ formats: [String: WeightFormat] = [:]) { self.formats = formats }

    /// Everything as float32: a model that is drawn, or kept beside a cache.
    package static let float32 = StoredFormats()

    package func format(of name: String) -> WeightFormat { formats[name] ?? .float32 }

    /// Bytes of a frozen tensor.
    package func bytes(of declaration: ParameterBucket.Declaration) -> Int {
        format(of: declaration.name).bytes(declaration.count)
    }
}

extension StoredFormats {
    /// Of what a checkpoint holds of a model. Nothing is read but the headers.
    package init(
        _ checkpoint: Checkpoint, _ family: any ModelFamily, _ configuration: StageModel.Configuration
    ) throws {
        let source = CheckpointSource(checkpoint, family: family, ledger: Ledger())
        let declaring = try DeclaringSource(wholeModel: family, configuration)
        self.init(
            declaring.matrices.reduce(into: [:]) { formats, name in
                formats[name] = source.storedName(of: name).flatMap(checkpoint.format)
            })
    }
}

extension DeclaringSource {
    /// Notes all tensors that a model's checkpoint must have under a head, whatever the technique.
    package convenience init(
        wholeModel family: any ModelFamily, _ configuration: StageModel.Configuration
    ) throws {
        self.init()
        let steps = family.steps(of: 0..<family.plannerLayers.count)
        _ = try BackboneSlice(family, steps: steps, source: self)
        _ = try TaskHead(
            family, configuration.head, pooling: configuration.pooling, model: self, frozen: self,
            trainable: DeclaringSource())
    }
}

extension StageModel {
    /// Bytes of the values of some steps' parameters, each once: of all, the frozen ones as they are stored, and of those
    /// that the technique trains.
    package static func parameterBytes(
        _ family: any ModelFamily, _ configuration: Configuration, steps: [LayerStep],
        _ formats: StoredFormats
    ) throws -> (all: Int, trainable: Int) {
        let (trainable, frozen) = try inventory(family, configuration, steps: steps)
        let trainableBytes = trainable.reduce(0) { $0 + WeightFormat.float32.bytes($1.count) }
        return (frozen.reduce(trainableBytes) { $0 + formats.bytes(of: $1) }, trainableBytes)
    }
}
