import Models
import Stages
import TextData

/// What a cache is of: the samples of a run's data, as one model reads them, in the layers that its side network reads.
package struct CacheContents {
    package let identity: CacheIdentity
    /// The splits that the run has.
    package let samples: [Split: SplitSamples]
    /// Whether cached epochs read the activations of the validation split: one by generated texts runs the backbone again.
    package let readsValidation: Bool
    private let family: any ModelFamily
    private let sideStacks: [StackKind]

    /// - Parameter sideStacks: the stacks that the side network runs beside.
    package init(
        _ identity: CacheIdentity, _ family: any ModelFamily, sideStacks: [StackKind],
        samples: [Split: SplitSamples], readsValidation: Bool
    ) {
        self.identity = identity
        self.family = family
        self.sideStacks = sideStacks
        self.samples = samples
        self.readsValidation = readsValidation
    }

    /// All layers that the side network reads.
    package var complete: CacheShape { shape(of: 0..<family.plannerLayers.count) }

    /// What a stage of these planner layers leaves.
    package func shape(of layers: Range<Int>) -> CacheShape {
        CacheShape(family, sideStacks: sideStacks, steps: family.steps(of: layers))
    }
}
