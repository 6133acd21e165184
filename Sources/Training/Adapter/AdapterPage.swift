import Configuration
import Models

/// The page beside a saved adapter: what the tensors are, what they belong to, and how to use them.
struct AdapterPage {
    private let experiment: Experiment
    private let model: TunedModel
    private let parameterCount: Int

    init(_ experiment: Experiment, _ model: TunedModel, parameterCount: Int) {
        self.experiment = experiment
        self.model = model
        self.parameterCount = parameterCount
    }

    var text: String {
        """
        # \(title) for \(experiment.name)

        Trained by pac-mpi on the \(model.family.name) model at `\(experiment.model.path)` (hash
        `\(model.files.fingerprint)`): \(parameterCount) parameters.

        - `adapter_model.safetensors`: \(tensors)
        - `adapter_config.json`: what they belong to, with the labels in order.

        \(use)

            pac-mpi evaluate EXPERIMENT.json --adapter THIS_DIRECTORY
            pac-mpi predict EXPERIMENT.json --adapter THIS_DIRECTORY --text "..."

        """
    }

    private var title: String {
        switch experiment.technique {
        case is ParallelAdapters: "Parallel Adapters"
        case is LowRankAdaptation: "LoRA"
        case is BottleneckAdapters: "Adapters"
        default: "A fine-tuned model"
        }
    }

    private var tensors: String {
        switch experiment.technique {
        case let technique as ParallelAdapters:
            """
            the side network (`side.*`, reduction factor \(technique.reductionFactor), named after the
              backbone tensors that it stands beside) and the task's head.
            """
        case let technique as LowRankAdaptation:
            """
            `lora_A` and `lora_B` of rank \(technique.rank) for \(technique.targets(model.family).map { "`\($0)`" }.joined(separator: ", ")) of every
              attention, under PEFT's names, and the task's head.
            """
        case let technique as BottleneckAdapters:
            """
            `attn_adapter` and `ffn_adapter` of every block (Houlsby's bottlenecks, reduction factor
              \(technique.reductionFactor)), and the task's head.
            """
        default: "every tensor of the model, under the checkpoint's names; `model.safetensors` links to it."
        }
    }

    private var use: String {
        switch experiment.technique {
        case is ParallelAdapters:
            """
            A side network runs beside its backbone. **It cannot be merged into the model's weights**, and it needs the
            same model to run:
            """
        case is LowRankAdaptation:
            """
            The directory is PEFT's: `PeftModel.from_pretrained(model, THIS_DIRECTORY)` loads it onto the same model (PEFT
            says that it ignores the keys of `adapter_config.json` that are pac-mpi's). The classifier reads the tokens that
            `pooling` names: only with `cls` is that what Hugging Face's classes do. Here:
            """
        case is BottleneckAdapters: "They need the same model to run:"
        default:
            """
            The directory is a model of its own, with configuration and tokenizer: `model.path` of another experiment, or
            `from_pretrained` of Hugging Face's class in `config.json`. That class reads a classifier's input from the first
            token: a model trained with `pooling` `mean` or `pair` needs its mean taken outside. Here:
            """
        }
    }
}
