import Models

/// The page beside a saved adapter: what the tensors are, what they belong to, and how to use them.
struct AdapterPage {
    private let session: Session
    private let parameterCount: Int

    init(_ session: Session, parameterCount: Int) {
        self.session = session
        self.parameterCount = parameterCount
    }

    var text: String {
        let technique = session.experiment.technique.page(session.model.family)
        let model = session.experiment.model.path
        return """
            # \(technique.title) for \(session.experiment.name)

            Trained by pac-mpi on the \(session.model.family.name) model at `\(model)` (hash
            `\(session.model.fingerprint)`): \(parameterCount) parameters.

            - `adapter_model.safetensors`: \(technique.tensors)
            - `adapter_config.json`: what they belong to, with the labels in order.

            \(technique.use)

                pac-mpi evaluate EXPERIMENT.json --adapter THIS_DIRECTORY
                pac-mpi predict EXPERIMENT.json --adapter THIS_DIRECTORY --text "..."

            """
    }
}
