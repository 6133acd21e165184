import TextData

extension TokenizedDataset {
    /// What a cache keeps of a sample besides its activations.
    func cacheRow(_ sample: Int, tokenCounts: [Int]) -> CacheSplit.SampleRow {
        let label: Float? =
            switch labels {
            case .classes(let labels): Float(labels[sample])
            case .scores(let scores): scores[sample]
            case .none, .texts: nil
            }
        return CacheSplit.SampleRow(
            id: sample, tokenCounts: tokenCounts, tokenIDs: Array(input(sample)), label: label,
            targetIDs: hasTargets ? Array(target(sample)) : nil)
    }
}
