/// What is made of repeated measurements.
public enum TimingStatistics {
    /// The middle value, or the mean of the two in the middle. A process that took the core for a moment does not
    /// move it.
    ///
    /// - Parameter values: at least one.
    public static func median(_ values: [Double]) -> Double {
        precondition(!values.isEmpty, "a median needs a value")
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }

    /// The nearest sequence (least squares) that never falls: more samples do not take less time, so where the
    /// measurements say so it is noise, and neighbours are averaged until it is gone.
    ///
    /// - Source: the pool-adjacent-violators algorithm (Ayer et al. 1955).
    public static func nonDecreasing(_ values: [Double]) -> [Double] {
        var pools: [(sum: Double, count: Int)] = []
        func mean(_ pool: (sum: Double, count: Int)) -> Double { pool.sum / Double(pool.count) }
        for value in values {
            pools.append((value, 1))
            while pools.count > 1, mean(pools[pools.count - 2]) > mean(pools[pools.count - 1]) {
                let last = pools.removeLast()
                pools[pools.count - 1].sum += last.sum
                pools[pools.count - 1].count += last.count
            }
        }
        return pools.flatMap { [Double](repeating: mean($0), count: $0.count) }
    }
}
