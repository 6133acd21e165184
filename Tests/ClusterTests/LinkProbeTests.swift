import Cluster
import Testing

/// Who measures a link with whom, and when.
@Suite struct LinkProbeTests {
    @Test(arguments: 1...9) func everyPairMeetsOnce(rankCount: Int) {
        let rounds = pairingRounds(rankCount: rankCount)
        #expect(rounds.count == (rankCount == 1 ? 0 : rankCount % 2 == 0 ? rankCount - 1 : rankCount))
        for round in rounds {
            let ranks = round.flatMap { [$0.0, $0.1] }
            #expect(Set(ranks).count == ranks.count, "nobody meets two at once")
        }
        let pairs = rounds.joined().map { [$0.0, $0.1] }
        #expect(pairs.allSatisfy { 0 <= $0[0] && $0[0] < $0[1] && $0[1] < rankCount })
        #expect(pairs.count == rankCount * (rankCount - 1) / 2)
        #expect(Set(pairs).count == pairs.count)
    }
}
