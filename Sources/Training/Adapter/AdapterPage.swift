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
        let technique = experiment.technique.page(model.family)
        return """
            # \(technique.title) for \(experiment.name)

            Trained by pac-mpi on the \(model.family.name) model at `\(experiment.model.path)` (hash
            `\(model.files.fingerprint)`): \(parameterCount) parameters.

            - `adapter_model.safetensors`: \(technique.tensors)
            - `adapter_config.json`: what they belong to, with the labels in order.

            \(technique.use)

                pac-mpi evaluate EXPERIMENT.json --adapter THIS_DIRECTORY
                pac-mpi predict EXPERIMENT.json --adapter THIS_DIRECTORY --text "..."

            """
    }
}
