import Support
import TensorCore

/// How the next token of a text is chosen.
package struct Decoding: Sendable {
    /// 0 takes the most probable token; higher values make rare ones likelier.
    package var temperature: Double
    /// Only the smallest set of most probable tokens whose probabilities reach this is drawn from (Holtzman et al. 2020).
    package var topP: Double
    package var seed: UInt64
    /// Ends a text; nil for what the adapter was trained to write.
    package var maximumTokens: Int?

    package static let greedy = Decoding()

    package init(temperature: Double = 0, topP: Double = 1, seed: UInt64 = 0, maximumTokens: Int? = nil) {
        self.temperature = temperature
        self.topP = topP
        self.seed = seed
        self.maximumTokens = maximumTokens
    }

    /// The next token of each text.
    ///
    /// What is drawn depends on (seed, sample, position) and the logits alone, so that no plan changes a text.
    ///
    /// - Parameters: `logits` has a row for each sample; `position` counts the tokens that were written before.
    package func next(_ logits: Tensor, samples: [Int], position: Int) -> [Int32] {
        guard temperature > 0 else { return argmax(logits) }
        let probabilities = softmax(scale(logits, by: Float(1 / temperature))).values
        let width = logits.columns
        return samples.enumerated().map { row, sample in
            draw(
                probabilities[row * width..<(row + 1) * width],
                CounterRandom(seed, UInt64(sample)).uniform(at: UInt64(position)))
        }
    }

    /// The token in which a number from [0, 1) falls, most probable tokens first, lower ids first on ties.
    private func draw(_ probabilities: ArraySlice<Float>, _ uniform: Double) -> Int32 {
        let order = probabilities.indices.sorted {
            probabilities[$0] > probabilities[$1] || (probabilities[$0] == probabilities[$1] && $0 < $1)
        }
        var kept = 0
        var mass = 0.0
        while kept < order.count, mass < topP || kept == 0 {
            mass += Double(probabilities[order[kept]])
            kept += 1
        }
        var rest = uniform * mass
        for index in order[..<kept] {
            rest -= Double(probabilities[index])
            if rest < 0 { return Int32(index - probabilities.startIndex) }
        }
        return Int32(order[kept - 1] - probabilities.startIndex)
    }
}
