import Support
import TensorCore

/// The blocks of a range of steps with their stacks' position tables: what backbone and side network have in common.
struct StackBlocks {
    private var blocks: [LayerStep: TransformerBlock] = [:]
    private var positionBiases: [StackKind: PositionBias] = [:]
    private var rotaryAngles: [StackKind: RotaryAngles] = [:]

    init(_ family: any ModelFamily, _ steps: [LayerStep], _ source: any ParameterSource) throws {
        for case .block(let stack, let index) in steps {
            if rotaryAngles[stack] == nil, let frequencies = family.rotaryFrequencies(stack) {
                rotaryAngles[stack] = RotaryAngles(frequencies)
            }
            blocks[.block(stack, index)] = try TransformerBlock(family.block(stack, index), source)
            if positionBiases[stack] == nil, let table = family.positionTable(stack) {
                positionBiases[stack] = PositionBias(
                    table: try source.parameter(
                        table.name, [table.bucketCount, table.headCount], sharingGroup: stack.rawValue),
                    bucket: { table.buckets($0) })
            }
        }
    }

    /// Runs one block on a lane's hidden states.
    func callAsFunction(
        _ stack: StackKind, _ index: Int, _ x: Tensor, encoderOutput: Tensor?, _ batch: MicroBatch,
        dropout: DropoutKeys?,
        cache: BlockCache?
    ) -> Tensor {
        let context = BlockContext(
            spans: batch.spans(stack), encoderOutput: encoderOutput, encoderSpans: batch.inputSpans,
            positionBias: positionBiases[stack],
            rotary: rotaryAngles[stack]?(batch.tokens(stack).positions, x.ledger), dropout: dropout,
            cache: cache)
        return blocks[.block(stack, index)]!(x, context)
    }
}

/// A stack's rotary angles, for as many positions as any batch so far had: all layers read one table.
private final class RotaryAngles {
    private let frequencies: [Float]
    private var table: RotaryTable?

    init(_ frequencies: [Float]) { self.frequencies = frequencies }

    func callAsFunction(_ positions: [Int32], _ ledger: Ledger) -> (table: RotaryTable, positions: [Int32]) {
        let needed = Int(positions.max() ?? 0) + 1
        if let table, table.positionCount >= needed { return (table, positions) }
        // Twice what was there: a generation asks for one more position at every token.
        let count = max(needed, 2 * (table?.positionCount ?? 32))
        let made = RotaryTable(frequencies: frequencies, positionCount: count, ledger: ledger)
        table = made
        return (made, positions)
    }
}

/// The key/value caches of a generation, made as blocks first ask for them.
package final class GenerationCaches {
    private let capacity: Int
    private var caches: [LayerStep: BlockCache] = [:]

    /// - Parameter capacity: tokens that a sequence can grow to.
    package init(capacity: Int) { self.capacity = capacity }

    package func cache(of step: LayerStep) -> BlockCache? {
        guard case .block(.decoder, _) = step else { return nil }
        if let cache = caches[step] { return cache }
        let made = BlockCache(capacity: capacity)
        caches[step] = made
        return made
    }
}
