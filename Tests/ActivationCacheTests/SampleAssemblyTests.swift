import ActivationCache
import Configuration
import Models
import Support
import Testing

/// Pieces of several readers against numbers that say where they belong.
@Suite struct SampleAssemblyTests {
    /// A number of two bytes that no other place of a test has.
    private static func number(_ sample: Int, _ stack: StackKind, _ token: Int, _ layer: Int, _ channel: Int)
        -> Int
    {
        1 + channel + 3 * (layer + 5 * (token + 6 * ((stack == .encoder ? 0 : 1) + 2 * sample)))
    }

    private static func bytes(_ number: Int, _ precision: CachePrecision) -> [UInt8] {
        precision == .float32
            ? withUnsafeBytes(of: Float(number)) { Array($0) }
            : withUnsafeBytes(of: UInt16(number)) { Array($0) }
    }

    @Test("layers of several readers come together in rows", arguments: 0..<120) func rows(seed: Int) {
        let random = CounterRandom(23, UInt64(seed))
        var drawn: UInt64 = 0
        func draw(_ count: Int) -> Int {
            drawn += 1
            return Int(random.bits(at: drawn) % UInt64(count))
        }
        let precision = CachePrecision.allCases[seed % 3]
        let both: [CacheShape.StackLayers] = [
            .init(stack: .encoder, layers: draw(2)..<4), .init(stack: .decoder, layers: 0..<3 + draw(3)),
        ]
        // One stack is not read where a side network leaves it aside, but the messages hold it.
        let complete = CacheShape(stacks: [both, [both[0]], [both[1]]][draw(3)], hiddenSize: 3)
        let readerCount = 1 + draw(4)
        let tokens: [[StackKind: Int]] = (0..<1 + draw(5)).map { _ in
            [.encoder: draw(6), .decoder: 1 + draw(5)]
        }
        var messages = [[UInt8]](repeating: [], count: readerCount)
        let samples = tokens.enumerated().map { sample, tokens in
            // Cut anywhere, each layer in at least one piece.
            let cut = [1 + draw(3), draw(both[1].layers.count + 1)]
            let pieces = [0, 1].map { part in
                let stacks = zip(both, cut).compactMap { stack, cut -> CacheShape.StackLayers? in
                    let middle = min(max(cut, stack.layers.lowerBound), stack.layers.upperBound)
                    let layers =
                        part == 0 ? stack.layers.lowerBound..<middle : middle..<stack.layers.upperBound
                    return layers.isEmpty ? nil : .init(stack: stack.stack, layers: layers)
                }
                return (shape: CacheShape(stacks: stacks, hiddenSize: 3), reader: draw(readerCount))
            }
            for (shape, reader) in pieces {
                for stack in shape.stacks {
                    for token in 0..<tokens[stack.stack]! {
                        for layer in stack.layers {
                            for channel in 0..<3 {
                                messages[reader] += Self.bytes(
                                    Self.number(sample, stack.stack, token, layer, channel), precision)
                            }
                        }
                    }
                }
            }
            return SampleAssembly.Sample(pieces: pieces) { tokens[$0]! }
        }
        // Each message that is not empty ends with a byte of another meaning, so that the next begins at an odd place.
        var received: [UInt8] = []
        let starts = messages.map { message in
            defer { received += message.isEmpty ? [] : message + [1] }
            return received.count
        }
        let assembly = SampleAssembly(complete, precision, samples)
        let found = received.withUnsafeBytes { bytes in
            bytes.baseAddress.map { assembly.rows(from: $0, starts: starts) }
        }
        let expected = complete.stacks.map { stack in
            tokens.enumerated().flatMap { sample, tokens in
                (0..<tokens[stack.stack]!).flatMap { token in
                    stack.layers.flatMap { layer in
                        (0..<3).flatMap { channel in
                            Self.bytes(Self.number(sample, stack.stack, token, layer, channel), precision)
                        }
                    }
                }
            }
        }
        #expect(found?.map { $0.withUnsafeBytes { Array($0) } } == expected)
        #expect(assembly.byteCount == expected.reduce(0) { $0 + $1.count })
    }
}
