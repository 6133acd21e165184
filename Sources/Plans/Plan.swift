import Support

/// One pipeline stage: which layers it holds, which ranks hold a replica of them, and how many samples of every
/// micro-batch each of these ranks takes.
package struct StagePlan: Sendable, Equatable {
    /// Half-open range over the planner's layers: embedding, encoder blocks, decoder blocks, head.
    package var layers: Range<Int>
    /// World ranks of the stage group, in the order in which they take the rows of a micro-batch.
    package var ranks: [Int]
    /// Samples of each micro-batch for each entry of `ranks`; 0 is allowed, but not for all of them.
    package var share: [Int]
    /// Whether the stage keeps only what it received of each micro-batch in flight, and runs its forward a second time
    /// before backward: less memory for a third more time.
    package var recompute: Bool

    package init(layers: Range<Int>, ranks: [Int], share: [Int], recompute: Bool = false) {
        self.layers = layers
        self.ranks = ranks
        self.share = share
        self.recompute = recompute
    }

    /// Splits samples over ranks as evenly as whole samples allow, the larger shares first.
    package static func evenShare(sampleCount: Int, rankCount: Int) -> [Int] {
        (0..<rankCount).map { sampleCount / rankCount + ($0 < sampleCount % rankCount ? 1 : 0) }
    }
}

/// A hybrid data- and pipeline-parallel configuration: the stages in order and the number of micro-batches into which
/// every mini-batch is cut. A baseline is a plan too (`BaselinePlans`).
package struct Plan: Sendable, Equatable {
    package var stages: [StagePlan]
    /// Micro-batches per mini-batch (the paper's M).
    package var microBatchCount: Int
    /// What the planner expected of this plan; nil for a plan that a person wrote.
    package var predicted: Prediction?

    package init(stages: [StagePlan], microBatchCount: Int, predicted: Prediction? = nil) {
        self.stages = stages
        self.microBatchCount = microBatchCount
        self.predicted = predicted
    }

    /// Samples in one micro-batch (the paper's B): the sum of the first stage's shares. In a valid plan all stages agree.
    package var microBatchSize: Int { stages.first?.share.reduce(0, +) ?? 0 }

    /// Samples in one mini-batch: micro-batch count times micro-batch size.
    package var miniBatchSize: Int { microBatchCount * microBatchSize }

    /// The stage that a rank belongs to; nil when the plan leaves the rank out.
    package func stageIndex(ofRank rank: Int) -> Int? { stages.firstIndex { $0.ranks.contains(rank) } }

    /// Checks the plan against the model, the world and the mini-batch.
    ///
    /// Ranks of the world that no stage names are legal: they take no part in the pipeline.
    ///
    /// - Throws: a configuration failure that names the stage, what was expected and what was found, when the layers are
    ///   not covered once and in order, a rank is outside the world or stands twice, a stage has no rank or no sample, the
    ///   stages' micro-batch sizes differ, or the mini-batch is not micro-batch count times micro-batch size.
    package func validate(layerCount: Int, worldSize: Int, miniBatchSize: Int) throws {
        guard !stages.isEmpty else {
            throw Failure.configuration("plan: expected at least one stage, found none")
        }
        guard microBatchCount > 0 else {
            throw Failure.configuration(
                "plan: expected a micro-batch count of at least 1, found \(microBatchCount)")
        }
        try validateLayers(count: layerCount)
        try validateRanks(worldSize: worldSize)
        try validateShares(miniBatchSize: miniBatchSize)
    }

    private func validateLayers(count: Int) throws {
        var next = 0
        for (index, stage) in stages.enumerated() {
            let found = "found [\(stage.layers.lowerBound), \(stage.layers.upperBound)]"
            guard !stage.layers.isEmpty else {
                throw Failure.configuration("plan: stage \(index): expected at least one layer, \(found)")
            }
            guard stage.layers.lowerBound == next else {
                let reason = index == 0 ? "the first" : "where stage \(index - 1) ends"
                throw Failure.configuration(
                    "plan: stage \(index): expected layers that begin at \(next), \(reason), \(found)")
            }
            guard stage.layers.upperBound <= count else {
                throw Failure.configuration(
                    "plan: stage \(index): expected layers within the model's \(count), \(found)")
            }
            next = stage.layers.upperBound
        }
        guard next == count else {
            throw Failure.configuration(
                "plan: stage \(stages.count - 1): expected the last stage to end at the model's \(count) layers, "
                    + "found [\(stages[stages.count - 1].layers.lowerBound), \(next)]")
        }
    }

    private func validateRanks(worldSize: Int) throws {
        var owner: [Int: Int] = [:]
        for (index, stage) in stages.enumerated() {
            guard !stage.ranks.isEmpty else {
                throw Failure.configuration("plan: stage \(index): expected at least one rank, found none")
            }
            for rank in stage.ranks {
                guard (0..<worldSize).contains(rank) else {
                    throw Failure.configuration(
                        "plan: stage \(index): expected ranks from 0 to \(worldSize - 1), as the world has "
                            + "\(worldSize), found \(rank)")
                }
                if let other = owner.updateValue(index, forKey: rank) {
                    throw Failure.configuration(
                        "plan: stage \(index): expected every rank once, found rank \(rank) "
                            + (other == index ? "twice" : "in stage \(other) as well"))
                }
            }
        }
    }

    private func validateShares(miniBatchSize: Int) throws {
        for (index, stage) in stages.enumerated() {
            guard stage.share.count == stage.ranks.count else {
                throw Failure.configuration(
                    "plan: stage \(index): expected one share for each of its \(stage.ranks.count) ranks, "
                        + "found \(stage.share.count)")
            }
            if let negative = stage.share.first(where: { $0 < 0 }) {
                throw Failure.configuration(
                    "plan: stage \(index): expected shares of at least 0, found \(negative)")
            }
            let sum = stage.share.reduce(0, +)
            guard sum > 0 else {
                throw Failure.configuration(
                    "plan: stage \(index): expected at least one sample of each micro-batch, found shares of 0 only"
                )
            }
            guard sum == microBatchSize else {
                throw Failure.configuration(
                    "plan: stage \(index): expected shares that sum to \(microBatchSize), as in stage 0, found \(sum)"
                )
            }
        }
        guard self.miniBatchSize == miniBatchSize else {
            throw Failure.configuration(
                "plan: stage 0: expected micro-batch count x sum of shares = the mini-batch size \(miniBatchSize), "
                    + "found \(microBatchCount) x \(microBatchSize) = \(self.miniBatchSize)")
        }
    }
}

extension StagePlan: CustomStringConvertible {
    /// "layers 0-4 on ranks 0, 1 (shares 3, 1)", with ", recomputed" where forward runs twice.
    package var description: String {
        let span =
            layers.count == 1
            ? "layer \(layers.lowerBound)" : "layers \(layers.lowerBound)-\(layers.upperBound - 1)"
        return "\(span) on \(Self.list("rank", ranks)) (\(Self.list("share", share)))"
            + (recompute ? ", recomputed" : "")
    }

    private static func list(_ noun: String, _ numbers: [Int]) -> String {
        (numbers.count == 1 ? noun : noun + "s") + " " + numbers.map(String.init).joined(separator: ", ")
    }
}

extension Plan: CustomStringConvertible {
    /// One line for the whole plan and one for each stage.
    package var description: String {
        let head =
            "\(stages.count) \(stages.count == 1 ? "stage" : "stages"), "
            + "\(microBatchCount) \(microBatchCount == 1 ? "micro-batch" : "micro-batches") of \(microBatchSize)"
        return ([head] + stages.enumerated().map { "stage \($0): \($1)" }).joined(separator: "\n")
    }
}
