import Models
import Plans
import Stages

/// The model of a run under the run's technique: its files, and the configuration of every stage's model.
package struct TunedModel {
    package let files: ModelFiles
    let configuration: StageModel.Configuration

    package var family: any ModelFamily { files.family }
    /// The steps of the whole model.
    var allSteps: [LayerStep] { family.steps(of: 0..<family.plannerLayers.count) }

    /// Which trained tensors each stage of a plan holds.
    func layout(_ plan: Plan) throws -> TrainedLayout { try TrainedLayout(family, configuration, plan) }
}
