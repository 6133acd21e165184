import Families
import Models
import Plans
import Support
import TensorCore
import WeightFiles

extension Profile {
    /// Checks that the profile is of the experiment's model and technique, as far as it can be told without reading the
    /// data: names and parameters of all layers but the head, whose size depends on the task's labels.
    ///
    /// - Throws: a configuration failure that names the layer, what was expected and what was found.
    ///
    /// - Parameter read: the model's configuration where the data has been read; the head is then checked as well.
    package func check(_ experiment: Experiment, _ read: StageModel.Configuration? = nil) throws {
        let family = try readModelFamily(directory: experiment.model.path)
        let expected = family.plannerLayers
        let model = experiment.model.path
        guard expected.count == layers.count else {
            throw Failure.configuration(
                "profile: expected the \(expected.count) layers of \(model), found \(layers.count)")
        }
        let configuration =
            read
            ?? StageModel.Configuration(technique: experiment.technique, head: .regression, pooling: .cls)
        let formats = try experiment.model.storedFormats(family, configuration)
        for (index, (layer, profiled)) in zip(expected, layers).enumerated() {
            guard layer.name == profiled.name else {
                throw Failure.configuration(
                    "profile: layer \(index): expected \(layer.name), as in \(model), found \(profiled.name)")
            }
            guard read != nil || !layer.steps.contains(.head) else { continue }
            let (all, trainable) = try StageModel.parameterBytes(
                family, configuration, steps: layer.steps, formats ?? .float32)
            // Without the weights their formats are unknown, but none takes more than float32.
            let fits =
                formats == nil
                ? (trainable...all).contains(profiled.parameterBytes) : profiled.parameterBytes == all
            guard fits else {
                throw Failure.configuration(
                    "profile: layer \(index) (\(layer.name)): expected \(all) bytes of parameters, as in \(model) with "
                        + "\(experiment.technique.kind), found \(profiled.parameterBytes)")
            }
            guard profiled.trainableBytes == trainable else {
                throw Failure.configuration(
                    "profile: layer \(index) (\(layer.name)): expected \(trainable) bytes that "
                        + "\(experiment.technique.kind) trains, found \(profiled.trainableBytes)")
            }
        }
    }
}

extension Experiment.Model {
    /// How the model's frozen matrices are stored; nil where its weights are not on this machine, as a plan needs none.
    fileprivate func storedFormats(
        _ family: any ModelFamily, _ configuration: StageModel.Configuration
    ) throws -> StoredFormats? {
        switch initialization {
        case .random: .float32
        case .checkpoint:
            Checkpoint.hasWeights(path)
                ? try StoredFormats(Checkpoint(path), family, configuration) : nil
        }
    }
}
