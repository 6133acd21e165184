import Support
import TensorCore

/// How Parallel Adapters are shaped.
public struct ParallelAdaptersConfiguration: Sendable, Equatable {
    public enum Merge: String, Sendable, CaseIterable {
        /// z = h_L + U s + c: at step 0 exactly the frozen backbone.
        case sum
        /// z = U s + c, as Ladder Side-Tuning.
        case sideOnly = "side_only"
    }

    /// k: how many times narrower the side network is.
    public var reductionFactor: Int
    public var merge: Merge

    public init(reductionFactor: Int = 8, merge: Merge = .sum) {
        self.reductionFactor = reductionFactor
        self.merge = merge
    }
}

/// The side network of Parallel Adapters on some steps: down-projections, gates, side layers and read-out.
///
/// Per token, with g_i = σ(α_i / T): a_0 = W_0 b_0 + c_0; u_i = g_i a_{i-1} + (1 - g_i)(W_i b_i + c_i);
/// a_i = S_i(u_i). Side layers are the backbone's own block types at 1/k of the width. The activations b_i may come
/// from the backbone or from the cache: nothing here can tell.
///
/// - Source: eq. (1) of the paper; the gates and T = 0.1 are Ladder Side-Tuning's.
public final class SideNetwork {
    private static let gateTemperature: Float = 0.1

    private let family: any ModelFamily
    private let merge: ParallelAdaptersConfiguration.Merge
    private let downProjections: [LayerStep: Dense]
    private let gates: [LayerStep: Tensor]
    private let blocks: StackBlocks
    private let encoderNorm: Norm?
    private let finalNorm: Norm?
    private let upProjection: Dense?

    /// Builds the parts of these steps from a source of trainable parameters.
    ///
    /// - Throws: when k does not divide one of the model's sizes.
    public init(
        _ family: any ModelFamily, _ configuration: ParallelAdaptersConfiguration, steps: [LayerStep],
        source: any ParameterSource
    ) throws {
        self.family = family
        merge = configuration.merge
        let reduced: any ModelFamily = try family.reduced(by: configuration.reductionFactor)
        let side = PrefixedSource(source, prefix: "side.")
        let (d, r) = (family.hiddenSize, reduced.hiddenSize)
        var downs: [LayerStep: Dense] = [:]
        var gates: [LayerStep: Tensor] = [:]
        var encoderNorm: Norm?
        var finalNorm: Norm?
        var up: Dense?
        for step in steps {
            switch step {
            case .embedding(let stack):
                if stack != family.stacks[0].kind {
                    encoderNorm = try reduced.finalNorm(.encoder).map { try Norm($0, side) }
                }
                downs[step] = try Dense("\(stack.rawValue).down.0", from: d, to: r, hasBias: true, side)
            case .block(let stack, let index):
                downs[step] = try Dense(
                    "\(stack.rawValue).down.\(index + 1)", from: d, to: r, hasBias: true, side)
                gates[step] = try side.parameter("\(stack.rawValue).gate.\(index + 1)", [1])
            case .head:
                finalNorm = try reduced.finalNorm(family.lastStack.kind).map { try Norm($0, side) }
                up = try Dense("up", from: r, to: d, hasBias: true, side)
            }
        }
        (downProjections, self.gates) = (downs, gates)
        (self.encoderNorm, self.finalNorm, upProjection) = (encoderNorm, finalNorm, up)
        blocks = try StackBlocks(reduced, steps, side)
    }

    /// The side network's state after a step, given the backbone's activation b of that step.
    ///
    /// - Shapes: b [n, d], rows may be strided; the result's hidden state [n, r].
    public func advance(
        _ lane: Lane?, past step: LayerStep, activation b: Tensor, _ batch: MicroBatch, dropout: DropoutKeys?,
        caches: GenerationCaches? = nil
    ) -> Lane {
        switch step {
        case .embedding(let stack):
            let hidden = downProjections[step]!(
                drop(
                    b, family.dropsEmbedding ? dropout : nil, "\(stack.rawValue).embedding",
                    spans: batch.spans(stack)))
            guard let lane, stack != family.stacks[0].kind else { return Lane(hidden: hidden) }
            let memory =
                lane.encoderOutput
                ?? drop(
                    encoderNorm.map { $0(lane.hidden) } ?? lane.hidden, family.dropsFinalNorm ? dropout : nil,
                    "encoder.final", spans: batch.spans(.encoder))
            return Lane(hidden: hidden, encoderOutput: memory)
        case .block(let stack, let index):
            var lane = lane!
            lane.hidden = blocks(
                stack, index, blockInput(lane, step, activation: b), memory: lane.encoderOutput, batch,
                dropout: dropout,
                cache: caches?.cache(of: step))
            return lane
        case .head:
            return lane!
        }
    }

    /// u: what a block's side layer reads, the side stream mixed with the down-projected activation.
    public func blockInput(_ lane: Lane, _ step: LayerStep, activation b: Tensor) -> Tensor {
        gateMix(
            alpha: gates[step]!, temperature: Self.gateTemperature, lane.hidden, downProjections[step]!(b))
    }

    /// The side stack's result s: after its final norm.
    public func final(_ lane: Lane, _ batch: MicroBatch, dropout: DropoutKeys?) -> Tensor {
        drop(
            finalNorm.map { $0(lane.hidden) } ?? lane.hidden, family.dropsFinalNorm ? dropout : nil, "final",
            spans: batch.spans(family.lastStack.kind))
    }

    /// The hidden state z that the head sees, for the rows that reach it.
    ///
    /// - Shapes: `backboneRows` gives h_L [m, d] and is asked only when it is merged; side [m, r]; result [m, d].
    public func readOut(_ backboneRows: () -> Tensor, side: Tensor) -> Tensor {
        let up = upProjection!(side)
        return merge == .sum ? add(up, backboneRows()) : up
    }
}

/// A source under a prefix.
struct PrefixedSource: ParameterSource {
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
