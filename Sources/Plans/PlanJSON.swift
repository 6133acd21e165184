import Support

/// The largest count that a plan may name, far beyond any real one, so that products of counts cannot overflow.
private let largestCount = 1_000_000

extension Plan {
    /// Reads `{"stages": [{"layers": [0, 5], "ranks": [0, 1], "share": [3, 1]}, ...], "micro_batch_count": 4}`, with an
    /// optional `predicted`, strictly.
    ///
    /// A stage without `share` gets an even split of the micro-batch, mini-batch size / micro-batch count.
    ///
    /// - Throws: a configuration failure that names file, line, key path, what was expected and what was found. What needs
    ///   the model and the world is checked by `validate(layerCount:worldSize:miniBatchSize:)`.
    package init(_ reader: JSONReader, miniBatchSize: Int) throws {
        let object = try reader.object(keys: ["stages", "micro_batch_count", "predicted"])
        let countReader = try object.required("micro_batch_count")
        let count = try countReader.integer(in: 1...largestCount)
        let stageReaders = try object.required("stages")
        let stages = try stageReaders.array().map { stage in
            try StagePlan(stage) { rankCount in
                guard miniBatchSize % count == 0 else {
                    throw countReader.failure(
                        expected:
                            "a divisor of the mini-batch size \(miniBatchSize), as a stage leaves \"share\" out"
                    )
                }
                return StagePlan.evenShare(sampleCount: miniBatchSize / count, rankCount: rankCount)
            }
        }
        guard !stages.isEmpty else { throw stageReaders.failure(expected: "at least one stage") }
        self.init(
            stages: stages, microBatchCount: count,
            predicted: try object.optional("predicted").map { try Prediction($0) })
    }

    /// The plan as `plan.json` holds it.
    package var json: JSONValue {
        var pairs: [(String, JSONValue)] = [
            ("stages", .array(stages.map(\.json))), ("micro_batch_count", JSONValue(microBatchCount)),
        ]
        if let predicted { pairs.append(("predicted", predicted.json)) }
        return .dictionary(pairs)
    }
}

extension StagePlan {
    /// Reads one stage; `defaultShare` gives the shares for a number of ranks when they are left out.
    package init(_ reader: JSONReader, defaultShare: (Int) throws -> [Int]) throws {
        let object = try reader.object(keys: ["layers", "ranks", "share", "recompute"])
        let layersReader = try object.required("layers")
        let bounds = try layersReader.array().map { try $0.integer(in: 0...largestCount) }
        guard bounds.count == 2, bounds[0] < bounds[1] else {
            throw layersReader.failure(expected: "[first, end] with first < end, a half-open range of layers")
        }
        let ranksReader = try object.required("ranks")
        let ranks = try ranksReader.array().map { try $0.integer(in: 0...largestCount) }
        guard !ranks.isEmpty else { throw ranksReader.failure(expected: "at least one rank") }
        let share: [Int]
        if let shareReader = object.optional("share") {
            share = try shareReader.array().map { try $0.integer(in: 0...largestCount) }
            guard share.count == ranks.count else {
                throw shareReader.failure(expected: "one share for each of the \(ranks.count) ranks")
            }
        } else {
            share = try defaultShare(ranks.count)
        }
        self.init(
            layers: bounds[0]..<bounds[1], ranks: ranks, share: share,
            recompute: try object.optional("recompute")?.bool() ?? false)
    }

    package var json: JSONValue {
        func list(_ numbers: [Int]) -> JSONValue { .array(numbers.map { JSONValue($0) }) }
        return .dictionary(
            [
                ("layers", list([layers.lowerBound, layers.upperBound])), ("ranks", list(ranks)),
                ("share", list(share)),
            ] + (recompute ? [("recompute", .bool(true))] : []))
    }
}
