import Support
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

    public var isWholeModel: Bool { true }

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

// In an experiment, an adapter's directory, a simulation and the reference vectors.
extension FullTuning {
    public static var standard: Self { Self() }
    public var settings: [(key: String, value: JSONValue)] { [] }
    public mutating func read(_ object: JSONObjectReader) {}

    public func peftKeys(_ family: any ModelFamily, _ head: HeadKind) -> [(String, JSONValue)] {
        [("peft_type", "FULL")]
    }

    public func page(_ family: any ModelFamily) -> TechniquePage {
        TechniquePage(
            title: "A fine-tuned model",
            tensors:
                "every tensor of the model, under the checkpoint's names; `model.safetensors` links to it.",
            use: """
                The directory is a model of its own, with configuration and tokenizer: `model.path` of another experiment, or
                `from_pretrained` of Hugging Face's class in `config.json`. That class reads a classifier's input from the first
                token: a model trained with `pooling` `mean` or `pair` needs its mean taken outside. Here:
                """)
    }

    public func trainedParts(of family: any ModelFamily) -> TrainedParts { .all }

    public init(referenceCase entry: JSONObjectReader) {}
}
