import ChatTemplates
import Support
import Tokenizers

/// Tasks in which a model learns a text's own tokens.
extension TextTask {
    /// Cuts texts into passages of at most the maximum sequence length.
    ///
    /// A text begins with the special tokens that the tokenizer puts before one. A passage begins with the last token of
    /// the one before it, so that every token but a text's first is predicted once.
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
            inputs: passages, lossMarks: passages.map { $0.indices.map { $0 > 0 } }, labels: .none)
    }

    /// Tokenizes conversations. Only the assistant's tokens are learned.
    ///
    /// - Parameter limit: how many conversations at most.
    /// - Throws: when the template refuses a conversation, or the maximum sequence length cuts off every answer of one.
    func conversations(_ rows: [Row], _ path: String, limit: Int?) throws -> TokenizedDataset {
        let length = specification.maximumSequenceLength
        var inputs: [[Int32]] = []
        var learned: [[Bool]] = []
        var truncatedCount = 0
        for row in rows.prefix(limit ?? rows.count) {
            let (text, answers) = try Self.naming("\(path):\(row.line)") {
                try chatTemplate!.renderMarkingAnswers(row.messages)
            }
            let ids = tokenizer.encode(text)
            var marks = [Bool](repeating: false, count: ids.count)
            for answer in answers {
                for place in tokenPlace(
                    answer.lowerBound, text, ids)..<tokenPlace(answer.upperBound, text, ids)
                {
                    marks[place] = true
                }
            }
            inputs.append(Array(ids.prefix(length)))
            learned.append(Array(marks.prefix(length)))
            truncatedCount += ids.count > length ? 1 : 0
            guard learned.last!.dropFirst().contains(true) else {
                throw Failure.configuration(
                    "\(path):\(row.line): messages: expected an answer within task.max_sequence_length \(length), found "
                        + "none among the first \(length) of \(ids.count) tokens")
            }
        }
        return TokenizedDataset(
            inputs: inputs, lossMarks: learned, labels: .none, truncatedCount: truncatedCount)
    }

    /// Where in a text's tokens a byte stands: behind the tokens that the text up to there has as well.
    private func tokenPlace(_ byte: Int, _ text: String, _ ids: [Int32]) -> Int {
        let before = tokenizer.encode(String(decoding: Array(text.utf8)[..<byte], as: UTF8.self))
        return zip(before, ids).prefix { $0 == $1 }.count
    }

    /// What a model reads before it answers a conversation; of a long one, the end.
    func prompt(_ row: Row, _ template: ChatTemplate) throws -> Encoding {
        let text = try Self.naming(row.line > 0 ? "line \(row.line)" : "--text") {
            try template.render(row.messages, addGenerationPrompt: true)
        }
        let ids = tokenizer.encode(text)
        let kept = Array(ids.suffix(specification.maximumSequenceLength))
        return Encoding(ids: kept, typeIDs: kept.map { _ in 0 }, wasTruncated: kept.count < ids.count)
    }

    /// Puts a row's place before what a template says of it.
    private static func naming<Result>(_ place: String, _ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let failure as Failure {
            throw Failure(failure.kind, "\(place): messages: \(failure.message)")
        }
    }

    /// The perplexity of a data set: e to the mean loss of its learned tokens, in nats.
    ///
    /// - Parameter losses: of each sample, the sum over its tokens and how many they are.
    public func metrics(losses: [(sum: Double, tokens: Int)]) -> Metrics {
        let total = losses.reduce((0.0, 0)) { ($0.0 + $1.sum, $0.1 + $1.tokens) }
        return Metrics(perplexityOfMeanLoss: total.0 / Double(max(1, total.1)))
    }
}
