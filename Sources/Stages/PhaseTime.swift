import MPI
import Support

/// A moment of this rank: the time, and how much of it the process has spent on messages so far.
package struct Moment: Sendable {
    /// On the monotonic clock.
    package let seconds: Double
    package let communicationSeconds: Double
}

/// The time that a phase took on this rank, and the shares of it.
package struct PhaseTime: Sendable {
    package let seconds: Double
    /// The share spent on messages (sending, receiving, summing, waiting for others), the mean over all ranks.
    package let communicationShare: Double
    /// The share of its time that the busiest rank did not spend on messages: near 1 where nobody could have been faster.
    package let busiestShare: Double

    package var fields: [(String, JSONValue)] {
        [
            ("seconds", JSONValue(seconds)), ("communication_share", JSONValue(communicationShare)),
            ("busiest_share", JSONValue(busiestShare)),
        ]
    }
}

extension RankContext {
    package var moment: Moment {
        Moment(seconds: MonotonicClock.seconds, communicationSeconds: world.communicationSeconds)
    }

    /// What became of the time since a moment. Collective over the world.
    package func elapsed(since start: Moment) throws -> PhaseTime {
        let end = moment
        let seconds = end.seconds - start.seconds
        let share =
            (end.communicationSeconds - start.communicationSeconds) / max(seconds, .leastNormalMagnitude)
        return PhaseTime(
            seconds: seconds, communicationShare: try world.allReduceSum(share) / Double(world.size),
            busiestShare: try world.allReduceMax(1 - share))
    }
}
