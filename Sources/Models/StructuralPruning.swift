import CKernels
import Support
import TensorCore

/// Chooses what the side network keeps of the backbone: deterministic, from integer sums of magnitudes.
///
/// An element scores ⌊|w| 2²⁴⌋ as a 64-bit integer, so sums do not depend on order; ties go to the lower index; kept
/// indices ascend. One residual set R, from the columns of the token embedding, holds for the whole model.
///
/// - Source: after the structural pruning of Ladder Side-Tuning (Sung, Cho, Bansal 2022), made independent of order.
package enum StructuralPruning {
    /// What one block keeps.
    package struct BlockPlan: Equatable, Sendable {
        /// For each attention and kv head: kept dimensions of q and k, and of v and o, local to the head.
        package var attentions: [(kind: AttentionDescription.Kind, qk: [[Int]], vo: [[Int]])]
        /// Kept units of the feed-forward.
        package var feedForward: [Int]

        package static func == (a: BlockPlan, b: BlockPlan) -> Bool {
            a.feedForward == b.feedForward && a.attentions.count == b.attentions.count
                && zip(a.attentions, b.attentions).allSatisfy {
                    $0.kind == $1.kind && $0.qk == $1.qk && $0.vo == $1.vo
                }
        }
    }

    /// The residual set R: the r columns of the token embedding with the largest sums.
    ///
    /// - Shapes: embedding [vocabulary, d]; result r ascending channel numbers.
    package static func residualChannels(_ embedding: Weight, keeping r: Int) -> [Int] {
        residualRanking(embedding).prefix(r).sorted()
    }

    /// The columns of the token embedding, those with the largest sums first.
    package static func residualRanking(_ embedding: Weight) -> [Int] {
        ranked(columnScores(embedding))
    }

    /// What the parts of a block weigh.
    package static func ranking(_ full: BlockDescription, _ backbone: any ParameterSource) throws
        -> BlockRanking
    {
        let d = full.hiddenSize
        let attentions = try full.attentions.map { attention in
            let (h, kvHeads) = (attention.headSize, attention.keyValueHeadCount)
            let width = attention.headCount * h
            let value = rowScores(try backbone.weight(attention.value + ".weight", [kvHeads * h, d]))
            let output = columnScores(try backbone.weight(attention.output + ".weight", [d, width]))
            let groupSize = attention.headCount / kvHeads
            func perHead(_ own: [Int64], _ grouped: [Int64]) -> [[Int]] {
                (0..<kvHeads).map { head in
                    ranked(
                        (0..<h).map { j in
                            (0..<groupSize).reduce(own[head * h + j]) {
                                $0 + grouped[(head * groupSize + $1) * h + j]
                            }
                        })
                }
            }
            var qk: [[Int]] = []
            if attention.positions != .rotary {
                let query = rowScores(try backbone.weight(attention.query + ".weight", [width, d]))
                let key = rowScores(try backbone.weight(attention.key + ".weight", [kvHeads * h, d]))
                qk = perHead(key, query)
            }
            return BlockRanking.Attention(kind: attention.kind, qk: qk, vo: perHead(value, output))
        }
        let width = full.feedForward.width
        var units = columnScores(try backbone.weight(full.feedForward.output + ".weight", [d, width]))
        for name in full.feedForward.inputs {
            let rows = rowScores(try backbone.weight(name + ".weight", [width, d]))
            for unit in units.indices { units[unit] += rows[unit] }
        }
        return BlockRanking(attentions: attentions, feedForward: ranked(units))
    }

    /// The plan of one block: what a reduced description keeps of a full one.
    package static func plan(
        _ ranking: BlockRanking, _ full: BlockDescription, reduced: BlockDescription
    ) -> BlockPlan {
        let attentions = zip(zip(full.attentions, reduced.attentions), ranking.attentions).map {
            pair, ranking in
            let (attention, small) = pair
            let h = attention.headSize
            let qk: [[Int]]
            if attention.positions == .rotary {
                // The side network turns by every k-th frequency, so these pairs stay whatever they weigh.
                let pairs = Array(stride(from: 0, to: h / 2, by: h / small.headSize))
                qk = [[Int]](repeating: pairs + pairs.map { $0 + h / 2 }, count: attention.keyValueHeadCount)
            } else {
                qk = ranking.qk.map { $0.prefix(small.headSize).sorted() }
            }
            return (kind: attention.kind, qk: qk, vo: ranking.vo.map { $0.prefix(small.headSize).sorted() })
        }
        return BlockPlan(
            attentions: attentions,
            feedForward: ranking.feedForward.prefix(reduced.feedForward.width).sorted())
    }

    /// The tensors of a side block: exact sub-tensors of the backbone block's, by their backbone names.
    package static func tensors(
        _ full: BlockDescription, plan: BlockPlan, residual: [Int], _ backbone: any ParameterSource
    ) throws -> [(name: String, values: [Float])] {
        let d = full.hiddenSize
        var out: [(name: String, values: [Float])] = []
        func take(_ name: String, _ shape: [Int], rows: [Int]?, columns: [Int]) throws {
            let weight =
                shape.count > 1
                ? try backbone.weight(name, shape) : .float32(try backbone.parameter(name, shape))
            var values: [Float] = []
            weight.forEachRow(rows ?? [0]) { row in values += columns.map { row[$0] } }
            out.append((name, values))
        }
        func norm(_ description: NormDescription) throws {
            try take(description.name + ".weight", [d], rows: nil, columns: residual)
            if description.kind == .layerNorm {
                try take(description.name + ".bias", [d], rows: nil, columns: residual)
            }
        }
        for (attention, kept) in zip(full.attentions, plan.attentions) {
            let (h, heads, kvHeads) = (attention.headSize, attention.headCount, attention.keyValueHeadCount)
            func rows(_ perHead: [[Int]], _ count: Int) -> [Int] {
                (0..<count).flatMap { head in perHead[head * kvHeads / count].map { head * h + $0 } }
            }
            let inputs = [
                (attention.query, rows(kept.qk, heads), heads),
                (attention.key, rows(kept.qk, kvHeads), kvHeads),
                (attention.value, rows(kept.vo, kvHeads), kvHeads),
            ]
            for (name, rows, count) in inputs {
                try take(name + ".weight", [count * h, d], rows: rows, columns: residual)
                if attention.hasInputBias { try take(name + ".bias", [count * h], rows: nil, columns: rows) }
            }
            try take(
                attention.output + ".weight", [d, heads * h], rows: residual, columns: rows(kept.vo, heads))
            if attention.hasOutputBias {
                try take(attention.output + ".bias", [d], rows: nil, columns: residual)
            }
            try norm(attention.norm)
        }
        let (feedForward, units) = (full.feedForward, plan.feedForward)
        for name in feedForward.inputs {
            try take(name + ".weight", [feedForward.width, d], rows: units, columns: residual)
            if feedForward.hasBias {
                try take(name + ".bias", [feedForward.width], rows: nil, columns: units)
            }
        }
        try take(feedForward.output + ".weight", [d, feedForward.width], rows: residual, columns: units)
        if feedForward.hasBias { try take(feedForward.output + ".bias", [d], rows: nil, columns: residual) }
        try norm(feedForward.norm)
        return out
    }

    /// All indices, those with the largest scores first, ties to the lower index.
    private static func ranked(_ scores: [Int64]) -> [Int] {
        scores.indices.sorted { (scores[$1], $0) < (scores[$0], $1) }
    }

    private static func rowScores(_ weight: Weight) -> [Int64] {
        var scores = [Int64](repeating: 0, count: weight.rows)
        scores.withUnsafeMutableBufferPointer { scores in
            weight.forEachPanel { rows, panel in
                guard let base = scores.baseAddress else { return }
                ck_importance_rows(base + rows.lowerBound, panel, rows.count, weight.columns)
            }
        }
        return scores
    }

    private static func columnScores(_ weight: Weight) -> [Int64] {
        var scores = [Int64](repeating: 0, count: weight.columns)
        weight.forEachPanel { rows, panel in
            ck_importance_columns(&scores, panel, rows.count, weight.columns)
        }
        return scores
    }
}
