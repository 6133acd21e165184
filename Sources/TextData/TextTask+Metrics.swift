import Tokenizers

/// The figures of merit of each task. The predictions stand in the order of the data set's rows, one for each.
extension TextTask {
    /// Measures class indices: MRPC by accuracy and F1 of class 1, everything else by accuracy.
    public func metrics(classes predictions: [Int], for dataset: TokenizedDataset) -> Metrics {
        metrics(optionalClasses: predictions, for: dataset)
    }

    /// Measures scores by Pearson's and Spearman's correlation with the labels.
    public func metrics(scores predictions: [Float], for dataset: TokenizedDataset) -> Metrics {
        guard case .scores(let gold) = dataset.labels else {
            preconditionFailure("the data set has no scores")
        }
        precondition(predictions.count == gold.count, "one prediction a row")
        let (a, b) = (predictions.map { Double($0) }, gold.map { Double($0) })
        return Metrics(["pearson": Metrics.pearson(a, b), "spearman": Metrics.spearman(a, b)])
    }

    /// Measures texts that a model wrote: a text that is no label counts as wrong (for F1 as the opposite class), one that
    /// is no number as -1; `text_to_text` by exact match, white space around the texts aside.
    public func metrics(texts predictions: [String], for dataset: TokenizedDataset) -> Metrics {
        switch dataset.labels {
        case .none: preconditionFailure("the data set has no labels")
        case .classes: return metrics(optionalClasses: predictions.map(classIndex), for: dataset)
        case .scores: return metrics(scores: predictions.map(score), for: dataset)
        case .texts(let gold):
            precondition(predictions.count == gold.count, "one prediction a row")
            let right = zip(predictions, gold).filter {
                UTF8Text.trimmed($0).elementsEqual(UTF8Text.trimmed($1))
            }
            .count
            return Metrics(["exact_match": Double(right) / Double(gold.count)])
        }
    }

    private func metrics(optionalClasses predictions: [Int?], for dataset: TokenizedDataset) -> Metrics {
        guard case .classes(let gold) = dataset.labels else {
            preconditionFailure("the data set has no classes")
        }
        precondition(predictions.count == gold.count, "one prediction a row")
        let accuracy = Metrics.accuracy(predictions, gold)
        guard specification.kind == .glue, specification.name == .mrpc else {
            return Metrics(["accuracy": accuracy])
        }
        return Metrics(["accuracy": accuracy, "f1": Metrics.f1(predictions, gold)])
    }
}
