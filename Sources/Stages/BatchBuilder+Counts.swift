import Models

extension BatchBuilder {
    /// Tokens of some samples in all stacks.
    package func tokenCount(_ samples: [Int]) -> Int {
        samples.reduce(0) { sum, sample in stacks.reduce(sum) { $0 + tokenCount(sample, $1) } }
    }
}
