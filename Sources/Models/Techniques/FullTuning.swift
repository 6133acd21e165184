import TensorCore

/// Trains every parameter of the model.
///
/// A tensor that several places use (a token embedding that is also the head's matrix, T5's position tables) is one
/// parameter; stages that hold copies sum its gradients.
public struct FullTuning: TuningTechnique {
    public static let kind = "full"
    /// Names the stages that hold the token embedding: where tokens are looked up, and the head where it is tied.
    static let embeddingGroup = "embedding"

    public init() {}

    public func source(
        frozen: any ParameterSource, trainable: any ParameterSource, _ family: any ModelFamily
    ) -> any ParameterSource {
        Source(trainable: trainable, embeddingName: family.tokenEmbeddingName)
    }

    private struct Source: Float32Source {
        let trainable: any ParameterSource
        let embeddingName: String

        func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
            try trainable.parameter(
                name, shape, sharingGroup: name == embeddingName ? FullTuning.embeddingGroup : sharingGroup)
        }
    }
}
