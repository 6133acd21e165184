import Support
import TensorCore

/// The canonical initial values of Parallel Adapters on some steps, free of random numbers.
///
/// Side layers are pruned sub-tensors (linear ones have nothing to be pruned from and are left out); W_i selects the
/// residual channels and c_i = 0, so that the side stream starts as the pruned residual stream; gates 0; U = 0 (`sum`) or
/// scatters the channels back (`side_only`); position tables whole.
package struct SideInitialization {
    /// Values by the names of `SideNetwork`'s parameters.
    package private(set) var values: [(name: String, values: [Float])] = []
    /// What each block kept, by the block's prefix.
    package private(set) var plans: [(prefix: String, plan: StructuralPruning.BlockPlan)] = []
    /// The importance of the kept parts, in the numbering of the pruned blocks: needed to prune further.
    package private(set) var rankings: [(prefix: String, ranking: BlockRanking)] = []

    /// What is pruned: the model, or a side network that was pruned from it for a factor that divides the new one.
    package struct Source {
        /// The model that the tensors belong to, or its reduced description.
        package let family: any ModelFamily
        /// The kept channels, in the numbering of the tensors.
        package let residual: [Int]
        package let parameters: any ParameterSource
        package let ranking: (BlockDescription) throws -> BlockRanking

        /// - Parameter ranking: what the parts of a block weigh, in the numbering of the tensors.
        package init(
            _ family: any ModelFamily, residual: [Int], _ parameters: any ParameterSource,
            ranking: @escaping (BlockDescription) throws -> BlockRanking
        ) {
            self.family = family
            self.residual = residual
            self.parameters = parameters
            self.ranking = ranking
        }
    }

    /// Prunes the model.
    ///
    /// - Parameter residual: `StructuralPruning.residualChannels` of the model's token embedding.
    package init(
        _ family: any ModelFamily, _ technique: ParallelAdapters, steps: [LayerStep],
        residual: [Int], backbone: any ParameterSource
    ) throws {
        let source = Source(family, residual: residual, backbone) {
            try StructuralPruning.ranking($0, backbone)
        }
        try self.init(family, technique, steps: steps, residual: residual, from: source)
    }

    /// Prunes what a source has.
    ///
    /// - Parameter residual: the kept channels, in the numbering of the model.
    package init(
        _ family: any ModelFamily, _ technique: ParallelAdapters, steps: [LayerStep], residual: [Int],
        from source: Source
    ) throws {
        let side = try technique.sideDescription(family)
        let (d, r) = (family.hiddenSize, side.hiddenSize)
        precondition(residual.count == r && source.residual.count == r)
        var selection = [Float](repeating: 0, count: r * d)
        for (row, channel) in residual.enumerated() { selection[row * d + channel] = 1 }
        var tables: Set<String> = []

        for step in steps where step.stack.map(side.stacks.contains) ?? true {
            switch step {
            case .embedding(let stack):
                appendDown("\(stack.rawValue).down.0", selection, r)
                if stack != side.stacks[0] {
                    try appendNorm(source.family.finalNorm(.encoder), source)
                }
            case .block(let stack, let index):
                appendDown("\(stack.rawValue).down.\(index + 1)", selection, r)
                append("\(stack.rawValue).gate.\(index + 1)", [0])
                guard technique.adapter == .transformer else { continue }
                let reduced: any ModelFamily = try family.reduced(by: technique.reductionFactor)
                let full = source.family.block(stack, index)
                let ranking = try source.ranking(full)
                let plan = StructuralPruning.plan(ranking, full, reduced: reduced.block(stack, index))
                plans.append((full.prefix, plan))
                rankings.append((full.prefix, ranking.kept(plan)))
                for (name, tensor) in try StructuralPruning.tensors(
                    full, plan: plan, residual: source.residual, source.parameters)
                {
                    append(name, tensor)
                }
                if let table = family.positionTable(stack), tables.insert(table.name).inserted {
                    append(
                        table.name,
                        try source.parameters.parameter(table.name, [table.bucketCount, table.headCount])
                            .values)
                }
            case .head:
                try appendNorm(source.family.finalNorm(family.lastStack.kind), source)
                var up = [Float](repeating: 0, count: d * r)
                if technique.merge == .sideOnly {
                    for (column, channel) in residual.enumerated() { up[channel * r + column] = 1 }
                }
                append("up.weight", up)
                append("up.bias", [Float](repeating: 0, count: d))
            }
        }
    }

    private mutating func append(_ name: String, _ tensor: [Float]) {
        values.append((SideNetwork.prefix + name, tensor))
    }

    private mutating func appendDown(_ name: String, _ selection: [Float], _ r: Int) {
        append(name + ".weight", selection)
        append(name + ".bias", [Float](repeating: 0, count: r))
    }

    private mutating func appendNorm(_ norm: NormDescription?, _ source: Source) throws {
        guard let norm else { return }
        let weight = try source.parameters.parameter(norm.name + ".weight", [norm.size])
        append(norm.name + ".weight", source.residual.map { weight.pointer[$0] })
        if norm.kind == .layerNorm {
            let bias = try source.parameters.parameter(norm.name + ".bias", [norm.size])
            append(norm.name + ".bias", source.residual.map { bias.pointer[$0] })
        }
    }
}
