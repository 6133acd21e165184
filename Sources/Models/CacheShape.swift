/// Which layers of which stacks a cache file holds, and how long its samples are.
package struct CacheShape: Sendable, Equatable {
    /// The layers of one stack, numbered as activations: 0 the embedding, i block i - 1.
    package struct StackLayers: Sendable, Equatable {
        package let stack: StackKind
        package let layers: Range<Int>

        package init(stack: StackKind, layers: Range<Int>) {
            self.stack = stack
            self.layers = layers
        }
    }

    package let stacks: [StackLayers]
    package let hiddenSize: Int

    package init(stacks: [StackLayers], hiddenSize: Int) {
        self.stacks = stacks
        self.hiddenSize = hiddenSize
    }

    /// What some steps of a model leave, those of a stage or all, in some of its stacks.
    ///
    /// - Parameter sideStacks: those that the side network runs beside.
    package init(_ family: any ModelFamily, sideStacks: [StackKind], steps: [LayerStep]) {
        let activations = steps.compactMap(\.activation).filter { sideStacks.contains($0.stack) }
        stacks = family.stacks.compactMap { stack in
            let layers = activations.filter { $0.stack == stack.kind }.map(\.layer)
            return layers.isEmpty
                ? nil : StackLayers(stack: stack.kind, layers: layers.min()!..<layers.max()! + 1)
        }
        hiddenSize = family.hiddenSize
    }

    /// Floats of one token row of a stack.
    package func rowCount(_ stack: StackLayers) -> Int { stack.layers.count * hiddenSize }

    /// Floats of one sample, given its tokens by stack.
    package func floatCount(_ tokens: (StackKind) -> Int) -> Int {
        stacks.reduce(0) { $0 + tokens($1.stack) * rowCount($1) }
    }
}
