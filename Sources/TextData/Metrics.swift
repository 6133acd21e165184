#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Figures of merit of one evaluation, in the order in which they are shown.
///
/// Fractions: accuracies and F1 from 0 to 1, correlations from -1 to 1; perplexities from 1 up, lower is better. `mean` is
/// always there: the task's headline.
public struct Metrics: Sendable, Equatable {
    public struct Metric: Sendable, Equatable {
        /// `accuracy`, `f1`, `pearson`, `spearman`, `exact_match`, `perplexity` or `mean`.
        public let name: String
        public let value: Double
    }

    public let values: [Metric]

    /// The figures and, after them, their mean.
    init(_ values: KeyValuePairs<String, Double>) {
        let mean = values.reduce(0) { $0 + $1.value } / Double(values.count)
        self.values =
            values.map { Metric(name: $0.key, value: $0.value) } + [Metric(name: "mean", value: mean)]
    }

    /// The perplexity of a mean loss in nats.
    init(perplexityOfMeanLoss loss: Double) { self.init(["perplexity": exp(loss)]) }

    public subscript(name: String) -> Double? { values.first { $0.name == name }?.value }

    /// The task's one figure: what `mean` says.
    public var headline: Double { values[values.count - 1].value }

    // MARK: Definitions

    /// The share of predictions that are right. A prediction of nil (a text that is no label) is wrong.
    static func accuracy(_ predictions: [Int?], _ gold: [Int32]) -> Double {
        let right = zip(predictions, gold).reduce(0) { $0 + ($1.0 == Int($1.1) ? 1 : 0) }
        return Double(right) / Double(gold.count)
    }

    /// F1 of class 1 of two; a prediction of nil counts as the class that is wrong. 0 when class 1 never occurs.
    static func f1(_ predictions: [Int?], _ gold: [Int32]) -> Double {
        var (truePositives, falsePositives, falseNegatives) = (0, 0, 0)
        for (prediction, label) in zip(predictions, gold) {
            switch (prediction ?? 1 - Int(label), label) {
            case (1, 1): truePositives += 1
            case (1, _): falsePositives += 1
            case (_, 1): falseNegatives += 1
            default: break
            }
        }
        let denominator = 2 * truePositives + falsePositives + falseNegatives
        return denominator == 0 ? 0 : Double(2 * truePositives) / Double(denominator)
    }

    /// Pearson's correlation; 0 where it is undefined (a constant side, or a diverged model's infinity or NaN).
    static func pearson(_ a: [Double], _ b: [Double]) -> Double {
        guard (a + b).allSatisfy(\.isFinite) else { return 0 }
        func isConstant(_ values: [Double]) -> Bool { values.allSatisfy { $0 == values.first } }
        guard !isConstant(a), !isConstant(b) else { return 0 }
        let meanA = a.reduce(0, +) / Double(a.count)
        let meanB = b.reduce(0, +) / Double(b.count)
        var (cross, squareA, squareB) = (0.0, 0.0, 0.0)
        for (x, y) in zip(a, b) {
            cross += (x - meanA) * (y - meanB)
            squareA += (x - meanA) * (x - meanA)
            squareB += (y - meanB) * (y - meanB)
        }
        let correlation = cross / (squareA.squareRoot() * squareB.squareRoot())
        return correlation.isFinite ? max(-1, min(1, correlation)) : 0
    }

    /// Spearman's correlation: Pearson's of the ranks, where equal values share the mean of their ranks.
    static func spearman(_ a: [Double], _ b: [Double]) -> Double {
        (a + b).allSatisfy(\.isFinite) ? pearson(ranks(a), ranks(b)) : 0
    }

    private static func ranks(_ values: [Double]) -> [Double] {
        let order = values.indices.sorted { values[$0] < values[$1] }
        var ranks = [Double](repeating: 0, count: values.count)
        var start = 0
        while start < order.count {
            var end = start + 1
            while end < order.count, values[order[end]] == values[order[start]] { end += 1 }
            for index in order[start..<end] { ranks[index] = Double(start + end - 1) / 2 }
            start = end
        }
        return ranks
    }
}
