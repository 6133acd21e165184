import Models
import Plans
import TextData

/// Which layers of which stacks a cache file holds, and how long its samples are.
struct CacheShape: Sendable, Equatable {
    /// The layers of one stack, numbered as activations: 0 the embedding, i block i - 1.
    struct StackLayers: Sendable, Equatable {
        let stack: StackKind
        let layers: Range<Int>
    }

    let stacks: [StackLayers]
    let hiddenSize: Int

    init(stacks: [StackLayers], hiddenSize: Int) {
        self.stacks = stacks
        self.hiddenSize = hiddenSize
    }

    /// What some steps of a model leave, those of a stage or all, in the stacks that the side network runs beside.
    init(_ family: any ModelFamily, _ technique: ParallelAdapters, steps: [LayerStep]) throws {
        let sideStacks = try technique.sideDescription(family)!.stacks
        let activations = steps.compactMap(\.activation).filter { sideStacks.contains($0.stack) }
        stacks = family.stacks.compactMap { stack in
            let layers = activations.filter { $0.stack == stack.kind }.map(\.layer)
            return layers.isEmpty
                ? nil : StackLayers(stack: stack.kind, layers: layers.min()!..<layers.max()! + 1)
        }
        hiddenSize = family.hiddenSize
    }

    /// Floats of one token row of a stack.
    func rowCount(_ stack: StackLayers) -> Int { stack.layers.count * hiddenSize }

    /// Floats of one sample, given its tokens by stack.
    func floatCount(_ tokens: (StackKind) -> Int) -> Int {
        stacks.reduce(0) { $0 + tokens($1.stack) * rowCount($1) }
    }
}
