import Support
import TensorCore

/// The backbone's part on one stage: only the tensors of its steps are mapped or trained.
///
/// Under Parallel Adapters it always runs in inference mode; with dropout its activations would not be invariants of the
/// sample and could not be cached.
package final class BackboneSlice {
    private let family: any ModelFamily
    private let embeddings: [StackKind: any EmbeddingLayer]
    private let blocks: StackBlocks
    /// The encoder's final norm, on the stage where the decoder begins.
    private let encoderNorm: Norm?

    package init(_ family: any ModelFamily, steps: [LayerStep], source: any ParameterSource) throws {
        var embeddings: [StackKind: any EmbeddingLayer] = [:]
        var encoderNorm: Norm?
        for case .embedding(let stack) in steps {
            embeddings[stack] = try family.makeEmbedding(stack, source)
            if stack != family.stacks[0].kind {
                encoderNorm = try family.finalNorm(.encoder).map { try Norm($0, source) }
            }
        }
        self.family = family
        self.embeddings = embeddings
        self.encoderNorm = encoderNorm
        blocks = try StackBlocks(family, steps, source)
    }

    /// Runs one step; `lane` is nil only before the first. The head is no step of the backbone.
    ///
    /// - Returns: the lane whose hidden state is the activation b of the step.
    package func advance(
        _ lane: Lane?, _ step: LayerStep, _ batch: MicroBatch, dropout: DropoutKeys? = nil,
        caches: GenerationCaches? = nil
    ) -> Lane {
        switch step {
        case .embedding(let stack):
            let hidden = drop(
                embeddings[stack]!(batch.tokens(stack)), family.dropsEmbedding ? dropout : nil,
                "\(stack.rawValue).embedding", spans: batch.spans(stack))
            guard let lane, stack != family.stacks[0].kind else { return Lane(hidden: hidden) }
            // In generation the encoder's result is already there, from the first token on.
            let encoderOutput =
                lane.encoderOutput
                ?? drop(
                    encoderNorm.map { $0(lane.hidden) } ?? lane.hidden,
                    family.dropsFinalNorm ? dropout : nil, "encoder.final", spans: batch.spans(.encoder))
            return Lane(hidden: hidden, encoderOutput: encoderOutput)
        case .block(let stack, let index):
            var lane = lane!
            lane.hidden = blocks(
                stack, index, lane.hidden, encoderOutput: lane.encoderOutput, batch, dropout: dropout,
                cache: caches?.cache(of: step))
            return lane
        case .head:
            return lane!
        }
    }
}
