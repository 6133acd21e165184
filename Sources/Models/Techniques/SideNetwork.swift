import Support
import TensorCore

/// The side network of Parallel Adapters on some steps: down-projections, gates, side layers and read-out.
///
/// Per token, with g_i = σ(α_i / T): a_0 = W_0 b_0 + c_0; u_i = g_i a_{i-1} + (1 - g_i)(W_i b_i + c_i); a_i = S_i(u_i).
/// Side layers are the backbone's own block types at 1/k of the width, or bottlenecks. The activations b_i may come from
/// the backbone or from the cache: nothing here can tell.
///
/// - Source: eq. (1) of the paper; the gates and T = 0.1 are Ladder Side-Tuning's.
package final class SideNetwork {
    /// T.
    static let gateTemperature = 0.1
    /// Begins the names of its parameters, which go on as those of the backbone that they stand beside.
    package static let prefix = "side."

    /// The stacks that it runs beside, in order.
    package let stacks: [StackKind]
    private let merge: ParallelAdapters.Merge
    private let downProjections: [LayerStep: Dense]
    private let gates: [LayerStep: Tensor]
    private let layers: Layers
    private let encoderNorm: Norm?
    private let finalNorm: Norm?
    private let upProjection: Dense?

    /// Builds the parts of these steps from a source of trainable parameters.
    ///
    /// - Throws: when k does not divide one of the model's sizes.
    package init(
        _ family: any ModelFamily, _ technique: ParallelAdapters, steps: [LayerStep],
        source: any ParameterSource
    ) throws {
        let description = try technique.sideDescription(family)
        stacks = description.stacks
        merge = technique.merge
        let side = PrefixedSource(source, prefix: Self.prefix)
        let (d, r) = (family.hiddenSize, description.hiddenSize)
        var downs: [LayerStep: Dense] = [:]
        var gates: [LayerStep: Tensor] = [:]
        var encoderNorm: Norm?
        var finalNorm: Norm?
        var up: Dense?
        let steps = steps.filter { $0.stack.map(description.stacks.contains) ?? true }
        for step in steps {
            switch step {
            case .embedding(let stack):
                if stack != description.stacks[0] {
                    encoderNorm = try family.finalNorm(.encoder).map { try Norm($0.resized(to: r), side) }
                }
                downs[step] = try Dense("\(stack.rawValue).down.0", from: d, to: r, hasBias: true, side)
            case .block(let stack, let index):
                downs[step] = try Dense(
                    "\(stack.rawValue).down.\(index + 1)", from: d, to: r, hasBias: true, side)
                gates[step] = try side.parameter("\(stack.rawValue).gate.\(index + 1)", [1])
            case .head:
                finalNorm = try family.finalNorm(family.lastStack.kind).map {
                    try Norm($0.resized(to: r), side)
                }
                up = try Dense("up", from: r, to: d, hasBias: true, side)
            }
        }
        (downProjections, self.gates) = (downs, gates)
        (self.encoderNorm, self.finalNorm, upProjection) = (encoderNorm, finalNorm, up)
        switch technique.adapter {
        case .transformer:
            layers = .blocks(
                try StackBlocks(family.reduced(by: technique.reductionFactor), steps, side))
        case .linear:
            var adapters: [LayerStep: Bottleneck] = [:]
            for case .block(let stack, let index) in steps {
                adapters[.block(stack, index)] = try Bottleneck(
                    "\(stack.rawValue).adapter.\(index + 1)", size: r, width: 2 * r, side)
            }
            layers = .linear(adapters)
        }
    }

    /// The side layers S_i.
    private enum Layers {
        case blocks(StackBlocks)
        case linear([LayerStep: Bottleneck])
    }

    /// The side network's state after a step, given the backbone's activation b of that step; nil before it begins.
    ///
    /// - Shapes: b [n, d], rows may be strided; the result's hidden state [n, r].
    package func advance(
        _ lane: Lane?, past step: LayerStep, activation b: Tensor, _ batch: MicroBatch, dropout: DropoutKeys?,
        caches: GenerationCaches? = nil
    ) -> Lane? {
        guard let stack = step.stack, stacks.contains(stack) else { return lane }
        switch step {
        case .embedding:
            let hidden = downProjections[step]!(
                drop(b, dropout, "\(stack.rawValue).embedding", spans: batch.spans(stack)))
            guard let lane, stack != stacks[0] else { return Lane(hidden: hidden) }
            let encoderOutput =
                lane.encoderOutput
                ?? drop(
                    encoderNorm.map { $0(lane.hidden) } ?? lane.hidden, dropout, "encoder.final",
                    spans: batch.spans(.encoder))
            return Lane(hidden: hidden, encoderOutput: encoderOutput)
        case .block(_, let index):
            var lane = lane!
            let u = blockInput(lane, step, activation: b)
            switch layers {
            case .blocks(let blocks):
                lane.hidden = blocks(
                    stack, index, u, encoderOutput: lane.encoderOutput, batch, dropout: dropout,
                    cache: caches?.cache(of: step))
            case .linear(let adapters):
                lane.hidden = add(u, adapters[step]!(u, dropout, spans: batch.spans(stack)))
            }
            return lane
        case .head:
            return lane
        }
    }

    /// u: what a block's side layer reads, the side stream mixed with the down-projected activation.
    package func blockInput(_ lane: Lane, _ step: LayerStep, activation b: Tensor) -> Tensor {
        gateMix(
            alpha: gates[step]!, temperature: Float(Self.gateTemperature), lane.hidden,
            downProjections[step]!(b))
    }

    /// The side stack's result s: after its final norm.
    package func final(_ lane: Lane, _ batch: MicroBatch, dropout: DropoutKeys?) -> Tensor {
        drop(
            finalNorm.map { $0(lane.hidden) } ?? lane.hidden, dropout, "final",
            spans: batch.spans(stacks.last!))
    }

    /// The hidden state z that the head sees, for the rows that reach it.
    ///
    /// - Shapes: `backboneRows` gives h_L [m, d] and is asked only when it is merged; side [m, r]; result [m, d].
    package func readOut(_ backboneRows: () -> Tensor, side: Tensor) -> Tensor {
        let up = upProjection!(side)
        return merge == .sum ? add(up, backboneRows()) : up
    }
}

/// A source of trained tensors under a prefix.
struct PrefixedSource: Float32Source {
    private let base: any ParameterSource
    private let prefix: String

    init(_ base: any ParameterSource, prefix: String) {
        self.base = base
        self.prefix = prefix
    }

    func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        try base.parameter(prefix + name, shape, sharingGroup: sharingGroup)
    }
}
