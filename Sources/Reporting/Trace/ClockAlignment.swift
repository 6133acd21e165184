/// Brings a rank's clock to the one that all ranks share, from differences that were measured now and then.
///
/// Between two measurements the difference is interpolated, as the clocks of two computers drift apart by up to some tens
/// of milliseconds an hour; before the first and after the last it stays as measured.
public struct ClockAlignment: Sendable {
    private var points: [(local: Double, difference: Double)] = []

    public init() {}

    /// Adds a measurement; measurements come in the order of time.
    ///
    /// - Parameters:
    ///   - local: this rank's clock at the measurement.
    ///   - difference: the shared clock less this rank's.
    public mutating func add(local: Double, difference: Double) {
        precondition(points.last.map { $0.local < local } ?? true, "measurements come in the order of time")
        points.append((local, difference))
    }

    /// A time of this rank's clock on the shared clock.
    public func shared(_ local: Double) -> Double {
        guard let first = points.first, let last = points.last else { return local }
        if local <= first.local { return local + first.difference }
        guard let right = points.firstIndex(where: { local < $0.local }) else {
            return local + last.difference
        }
        let (a, b) = (points[right - 1], points[right])
        let share = (local - a.local) / (b.local - a.local)
        return local + a.difference + share * (b.difference - a.difference)
    }

    /// The stretches with their times on the shared clock.
    public func shared(_ spans: [TraceSpan]) -> [TraceSpan] {
        spans.map { span in
            var moved = span
            moved.start = shared(span.start)
            moved.seconds = shared(span.end) - moved.start
            return moved
        }
    }

    /// The difference between two clocks from exchanges of the time: this rank sends, the other answers with its clock.
    ///
    /// The answer of the exchange that took the least is taken to stem from its middle (Cristian, 1989), so the error is at
    /// most half of what it took. A difference within that error is no difference: ranks of one computer share a clock.
    ///
    /// - Parameter exchanges: `sent` and `received` on this rank's clock, `answer` on the other's; at least one.
    public static func difference(_ exchanges: [(sent: Double, answer: Double, received: Double)]) -> Double {
        let best = exchanges.min { $0.received - $0.sent < $1.received - $1.sent }!
        let difference = best.answer - (best.sent + best.received) / 2
        return abs(difference) <= (best.received - best.sent) / 2 ? 0 : difference
    }
}
