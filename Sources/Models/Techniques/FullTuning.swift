import Support
import TensorCore

/// Trains every parameter of the model.
///
/// A tensor that several places use (a token embedding that is also the head's matrix, T5's position tables) is one
/// parameter; stages that hold copies sum its gradients.
package struct FullTuning: TuningTechnique {
    package static let kind = "full"
    /// Names the stages that hold the token embedding: where tokens are looked up, and the head where it is tied.
    static let embeddingGroup = "embedding"

    package init() {}

    package var isWholeModel: Bool { true }

    package func source(
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
    package static var standard: Self { Self() }
    package var settings: [(key: String, value: JSONValue)] { [] }
    package mutating func read(_ object: JSONObjectReader) {}

    package func peftKeys(_ family: any ModelFamily, _ head: HeadKind) -> [(String, JSONValue)] {
        [("peft_type", "FULL")]
    }

    package func page(_ family: any ModelFamily) -> TechniquePage {
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

    package func trainedParts(of family: any ModelFamily) -> TrainedParts { .all }

    package init(referenceCase entry: JSONObjectReader) {}
}
