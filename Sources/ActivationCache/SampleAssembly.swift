import Configuration
import Models

/// Samples with all their layers, put together from pieces that several ranks have read and sent.
package struct SampleAssembly {
    /// A sample, and what the messages hold of it.
    package struct Sample {
        /// The layers of each piece, and the rank whose message holds it.
        package let pieces: [(shape: CacheShape, reader: Int)]
        /// Tokens that a stack has for the sample.
        package let tokenCount: (StackKind) -> Int

        package init(
            pieces: [(shape: CacheShape, reader: Int)], tokenCount: @escaping (StackKind) -> Int
        ) {
            self.pieces = pieces
            self.tokenCount = tokenCount
        }
    }

    private let complete: CacheShape
    private let precision: CachePrecision
    private let samples: [Sample]

    /// - Parameter complete: all layers of a sample.
    package init(_ complete: CacheShape, _ precision: CachePrecision, _ samples: [Sample]) {
        self.complete = complete
        self.precision = precision
        self.samples = samples
    }

    /// By stack of the complete shape, the numbers of all samples.
    private var sizes: [Int] {
        complete.stacks.map { stack in
            samples.reduce(0) { $0 + $1.tokenCount(stack.stack) } * complete.rowCount(stack)
        }
    }

    /// Bytes of all samples with all layers.
    package var byteCount: Int { sizes.reduce(0, +) * precision.byteCount }

    /// For each stack of the complete shape the rows of all samples, [tokens, layers, hidden].
    ///
    /// - Parameters:
    ///   - received: the messages. Each holds the pieces of its sender in the order of the samples, and of each piece the
    ///     stacks in order, [tokens, layers, hidden].
    ///   - starts: by sender, the byte at which its message begins.
    package func rows(from received: UnsafeRawPointer, starts messageStarts: [Int]) -> [StoredNumbers] {
        let width = precision.byteCount
        var cursors = messageStarts
        var buffers = sizes.map { StoredNumbers(repeatingZero: $0, precision) }
        var starts = [Int](repeating: 0, count: buffers.count)
        for sample in samples {
            for (shape, reader) in sample.pieces {
                for part in shape.stacks {
                    let tokens = sample.tokenCount(part.stack)
                    // A narrower side network may leave a stack of another run's cache aside.
                    guard let index = complete.stacks.firstIndex(where: { $0.stack == part.stack }) else {
                        cursors[reader] += tokens * shape.rowCount(part) * width
                        continue
                    }
                    let (row, all) = (
                        shape.rowCount(part) * width, complete.rowCount(complete.stacks[index]) * width
                    )
                    let first =
                        starts[index]
                        + (part.layers.lowerBound - complete.stacks[index].layers.lowerBound)
                        * complete.hiddenSize * width
                    buffers[index].withUnsafeMutableBytes { buffer in
                        for token in 0..<tokens {
                            (buffer.baseAddress! + first + token * all).copyMemory(
                                from: received + cursors[reader] + token * row, byteCount: row)
                        }
                    }
                    cursors[reader] += tokens * row
                }
            }
            for (index, stack) in complete.stacks.enumerated() {
                starts[index] += sample.tokenCount(stack.stack) * complete.rowCount(stack) * width
            }
        }
        return buffers
    }
}
