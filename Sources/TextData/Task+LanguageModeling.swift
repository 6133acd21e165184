import Support

/// Tasks in which a model learns a text's own tokens.
extension Task {
    /// Cuts texts into passages of at most the maximum sequence length.
    ///
    /// A text begins with the special tokens that the tokenizer puts before one. A passage begins with the last token of
    /// the one before it, so that every token but a text's first is predicted once. Type ids of 1 mark what is learned.
    ///
    /// - Parameter limit: how many passages at most.
    /// - Throws: when there is nothing to predict.
    func passages(_ rows: [Row], _ path: String, limit: Int?) throws -> TokenizedDataset {
        let length = specification.maximumSequenceLength
        var passages: [[Int32]] = []
        for row in rows where passages.count < limit ?? Int.max {
            let ids = tokenizer.encode(single: row.fields[0].text, maximumLength: Int(Int32.max)).ids
            for start in stride(from: 0, to: ids.count - 1, by: length - 1) {
                passages.append(Array(ids[start..<min(start + length, ids.count)]))
            }
        }
        if let limit { passages = Array(passages.prefix(limit)) }
        guard !passages.isEmpty else {
            throw Failure.configuration("\(path): expected a text of at least two tokens, found less")
        }
        return TokenizedDataset(
            inputs: passages, typeIDs: passages.map { [0] + $0.dropFirst().map { _ in 1 } }, labels: .none)
    }

    /// The perplexity of a data set: e to the mean loss of its learned tokens, in nats.
    ///
    /// - Parameter losses: of each sample, the sum over its tokens and how many they are.
    public func metrics(losses: [(sum: Double, tokens: Int)]) -> Metrics {
        let total = losses.reduce((0.0, 0)) { ($0.0 + $1.sum, $0.1 + $1.tokens) }
        return Metrics(perplexityOfMeanLoss: total.0 / Double(max(1, total.1)))
    }
}
