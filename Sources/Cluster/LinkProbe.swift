import MPI
import Plans
import Support

/// Measures the way between every pair of ranks: latency with a small message, bandwidth with a large one.
package enum LinkProbe {
    private static let smallBytes = 8
    private static let largeBytes = 1 << 20
    private static let smallRepetitions = 20
    private static let largeRepetitions = 3

    /// Measures all pairs and returns those in which this rank is the lower one. Collective.
    ///
    /// The pairs of a round measure at the same time, as all links are in use during training.
    package static func measure(_ world: borrowing Communicator) throws -> [LinkProfile] {
        guard world.size > 1 else { return [] }
        let communicator = try world.duplicate(name: "links")
        let small = ByteBuffer(count: smallBytes)
        let large = ByteBuffer(count: largeBytes)
        var links: [LinkProfile] = []
        for round in pairingRounds(rankCount: world.size) {
            try communicator.barrier()
            guard let (first, second) = round.first(where: { $0.0 == world.rank || $0.1 == world.rank })
            else {
                continue
            }
            let peer = first == world.rank ? second : first
            let smallSeconds = try oneWaySeconds(
                small, smallRepetitions, first == world.rank, peer, communicator)
            let largeSeconds = try oneWaySeconds(
                large, largeRepetitions, first == world.rank, peer, communicator)
            if first == world.rank {
                links.append(
                    LinkProfile(
                        ranks: (first, second), smallSeconds: smallSeconds, largeSeconds: largeSeconds,
                        largeBytes: largeBytes))
            }
        }
        try communicator.free()
        return links
    }

    /// Median seconds for a message to arrive: half of there and back. The rank that speaks first knows the time; what
    /// the other measures is no use.
    private static func oneWaySeconds(
        _ message: ByteBuffer, _ repetitions: Int, _ speaksFirst: Bool, _ peer: Int,
        _ communicator: borrowing Communicator
    ) throws -> Double {
        var seconds: [Double] = []
        // The first exchange opens the connection and is not counted.
        for repetition in 0...repetitions {
            let start = MonotonicClock.seconds
            if speaksFirst { try communicator.immediateSend(message, to: peer, tag: 0).wait() }
            try communicator.immediateReceive(into: message, from: peer, tag: 0).wait()
            if !speaksFirst { try communicator.immediateSend(message, to: peer, tag: 0).wait() }
            if repetition > 0 { seconds.append((MonotonicClock.seconds - start) / 2) }
        }
        return TimingStatistics.median(seconds)
    }
}

extension LinkProfile {
    /// The link on which a small and a large message take these times.
    ///
    /// `seconds(bytes: largeBytes)` is exactly `largeSeconds`. A small message that seems to take more than half of a
    /// large one's time was held up by something else than the link: half is taken then.
    package init(ranks: (Int, Int), smallSeconds: Double, largeSeconds: Double, largeBytes: Int) {
        let latency = min(smallSeconds, largeSeconds / 2)
        self.init(
            ranks: ranks, bandwidth: Double(largeBytes) / (largeSeconds - latency), latencySeconds: latency)
    }
}

/// Rounds in which every rank meets at most one other, and over all rounds every pair once, the lower rank first.
///
/// - Source: the circle method of round-robin tournaments: one place stays, the others move on by one.
package func pairingRounds(rankCount: Int) -> [[(Int, Int)]] {
    guard rankCount > 1 else { return [] }
    // With an odd number of ranks, who meets the place that is no rank has a break.
    let places = rankCount + rankCount % 2
    return (0..<places - 1).map { round in
        (0..<places / 2).compactMap { index in
            let a = index == 0 ? places - 1 : (round + index) % (places - 1)
            let b = (round + places - 1 - index) % (places - 1)
            return max(a, b) < rankCount ? (min(a, b), max(a, b)) : nil
        }
    }
}
