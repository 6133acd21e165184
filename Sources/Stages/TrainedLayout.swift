import Models
import Plans
import TensorCore

/// Which trained tensors each stage of a plan holds.
///
/// The layout of a stage's bucket follows from its steps, so every rank knows that of every other, and only numbers travel.
package struct TrainedLayout {
    package let plan: Plan
    /// Those of each stage, in the order of its bucket.
    package let stages: [[ParameterBucket.Declaration]]
    /// Those of the whole model, in the order of a bucket of all steps.
    package let complete: [ParameterBucket.Declaration]
    /// The rank that speaks for each tensor: the first of the first stage that holds it.
    package let owners: [String: Int]

    package init(
        _ family: any ModelFamily, _ configuration: StageModel.Configuration, _ plan: Plan
    ) throws {
        self.plan = plan
        let stages = try plan.stages.map {
            try StageModel.declarations(family, configuration, steps: family.steps(of: $0.layers))
        }
        self.stages = stages
        var owners: [String: Int] = [:]
        for (stage, declarations) in zip(plan.stages, stages).reversed() {
            for declaration in declarations { owners[declaration.name] = stage.ranks[0] }
        }
        self.owners = owners
        complete = try StageModel.declarations(
            family, configuration, steps: family.steps(of: 0..<family.plannerLayers.count))
    }
}
