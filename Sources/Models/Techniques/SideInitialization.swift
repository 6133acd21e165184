import Support
import TensorCore

/// The canonical initial values of Parallel Adapters on some steps, free of random numbers.
///
/// Side layers are pruned sub-tensors (linear ones have nothing to be pruned from and are left out); W_i selects the
/// residual channels and c_i = 0, so that the side stream starts as the pruned residual stream; gates 0; U = 0 (`sum`) or
/// scatters the channels back (`side_only`); position tables whole.
public struct SideInitialization {
    /// Values by the names of `SideNetwork`'s parameters.
    public private(set) var values: [(name: String, values: [Float])] = []
    /// What each block kept, by the block's prefix.
    public private(set) var plans: [(prefix: String, plan: StructuralPruning.BlockPlan)] = []

    /// - Parameter residual: `StructuralPruning.residualChannels` of the model's token embedding.
    public init(
        _ family: any ModelFamily, _ technique: ParallelAdapters, steps: [LayerStep],
        residual: [Int], backbone: any ParameterSource
    ) throws {
        let side = try technique.sideDescription(family)!
        let (d, r) = (family.hiddenSize, side.hiddenSize)
        precondition(residual.count == r)
        var selection = [Float](repeating: 0, count: r * d)
        for (row, channel) in residual.enumerated() { selection[row * d + channel] = 1 }
        var tables: Set<String> = []

        for step in steps where step.stack.map(side.stacks.contains) ?? true {
            switch step {
            case .embedding(let stack):
                appendDown("\(stack.rawValue).down.0", selection, r)
                if stack != side.stacks[0] {
                    try appendNorm(family.finalNorm(.encoder), residual, backbone)
                }
            case .block(let stack, let index):
                appendDown("\(stack.rawValue).down.\(index + 1)", selection, r)
                append("\(stack.rawValue).gate.\(index + 1)", [0])
                guard technique.adapter == .transformer else { continue }
                let reduced: any ModelFamily = try family.reduced(by: technique.reductionFactor)
                let full = family.block(stack, index)
                let plan = try StructuralPruning.plan(full, reduced: reduced.block(stack, index), backbone)
                plans.append((full.prefix, plan))
                for (name, tensor) in try StructuralPruning.tensors(
                    full, plan: plan, residual: residual, backbone)
                {
                    append(name, tensor)
                }
                if let table = family.positionTable(stack), tables.insert(table.name).inserted {
                    append(
                        table.name,
                        try backbone.parameter(table.name, [table.bucketCount, table.headCount]).values)
                }
            case .head:
                try appendNorm(family.finalNorm(family.lastStack.kind), residual, backbone)
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
        values.append(("side." + name, tensor))
    }

    private mutating func appendDown(_ name: String, _ selection: [Float], _ r: Int) {
        append(name + ".weight", selection)
        append(name + ".bias", [Float](repeating: 0, count: r))
    }

    private mutating func appendNorm(
        _ norm: NormDescription?, _ residual: [Int], _ backbone: any ParameterSource
    ) throws {
        guard let norm else { return }
        let weight = try backbone.parameter(norm.name + ".weight", [norm.size])
        append(norm.name + ".weight", residual.map { weight.pointer[$0] })
        if norm.kind == .layerNorm {
            let bias = try backbone.parameter(norm.name + ".bias", [norm.size])
            append(norm.name + ".bias", residual.map { bias.pointer[$0] })
        }
    }
}
