/// The parts of a block by importance, the most important first: pruning keeps the beginning of each list.
///
/// If one reduction factor divides another, its kept parts include the other's. So a pruned block can be pruned further
/// from its own tensors, if their ranking is known.
package struct BlockRanking: Equatable, Sendable {
    /// For each attention and kv head: dimensions of q and k (empty where rotary pairs stay whatever they weigh), and of v
    /// and o, local to the head.
    package var attentions: [Attention]
    /// Units of the feed-forward.
    package var feedForward: [Int]

    package struct Attention: Equatable, Sendable {
        package var kind: AttentionDescription.Kind
        package var qk: [[Int]]
        package var vo: [[Int]]

        package init(kind: AttentionDescription.Kind, qk: [[Int]], vo: [[Int]]) {
            self.kind = kind
            self.qk = qk
            self.vo = vo
        }
    }

    package init(attentions: [Attention], feedForward: [Int]) {
        self.attentions = attentions
        self.feedForward = feedForward
    }

    /// The ranking of what a plan keeps, in the numbering of the pruned block.
    package func kept(_ plan: StructuralPruning.BlockPlan) -> BlockRanking {
        BlockRanking(
            attentions: zip(attentions, plan.attentions).map { own, kept in
                Attention(
                    kind: own.kind, qk: own.qk.isEmpty ? [] : zip(own.qk, kept.qk).map(Self.positions),
                    vo: zip(own.vo, kept.vo).map(Self.positions))
            }, feedForward: Self.positions(feedForward, plan.feedForward))
    }

    /// The places, among what was kept, of the weightiest of a ranking.
    package static func positions(_ ranking: [Int], _ kept: [Int]) -> [Int] {
        let places = Dictionary(uniqueKeysWithValues: kept.enumerated().map { ($1, $0) })
        return ranking.compactMap { places[$0] }
    }
}
