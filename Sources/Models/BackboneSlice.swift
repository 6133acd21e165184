import Support
import TensorCore

/// The frozen backbone's part on one stage: only the tensors of its steps are mapped.
///
/// It always runs in inference mode; with dropout its activations would not be invariants of the sample and could not
/// be cached.
public final class BackboneSlice {
    private let firstStack: StackKind
    private let embeddings: [StackKind: any EmbeddingLayer]
    private let blocks: StackBlocks
    /// The encoder's final norm, on the stage where the decoder begins.
    private let encoderNorm: Norm?

    public init(_ family: any ModelFamily, steps: [LayerStep], source: any ParameterSource) throws {
        var embeddings: [StackKind: any EmbeddingLayer] = [:]
        var encoderNorm: Norm?
        for case .embedding(let stack) in steps {
            embeddings[stack] = try family.makeEmbedding(stack, source)
            if stack != family.stacks[0].kind {
                encoderNorm = try family.finalNorm(.encoder).map { try Norm($0, source) }
            }
        }
        firstStack = family.stacks[0].kind
        self.embeddings = embeddings
        self.encoderNorm = encoderNorm
        blocks = try StackBlocks(family, steps, source)
    }

    /// Runs one step; `lane` is nil only before the first. The head is no step of the backbone.
    ///
    /// - Returns: the lane whose hidden state is the activation b of the step.
    public func advance(
        _ lane: Lane?, _ step: LayerStep, _ batch: MicroBatch, caches: GenerationCaches? = nil
    ) -> Lane {
        switch step {
        case .embedding(let stack):
            let hidden = embeddings[stack]!(batch.tokens(stack))
            guard let lane, stack != firstStack else { return Lane(hidden: hidden) }
            // In generation the encoder's result is already there, from the first token on.
            let memory = lane.encoderOutput ?? encoderNorm.map { $0(lane.hidden) } ?? lane.hidden
            return Lane(hidden: hidden, encoderOutput: memory)
        case .block(let stack, let index):
            var lane = lane!
            lane.hidden = blocks(
                stack, index, lane.hidden, memory: lane.encoderOutput, batch, dropout: nil,
                cache: caches?.cache(of: step))
            return lane
        case .head:
            return lane!
        }
    }
}
