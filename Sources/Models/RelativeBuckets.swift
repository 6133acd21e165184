#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// T5's buckets of relative distances: exact for near tokens, logarithmic up to a maximum distance.
///
/// Source: `T5Attention._relative_position_bucket`. Its float32 arithmetic sits exactly on the boundaries, so it is
/// done in float32 here, once for each distance.
package struct RelativeBuckets: Sendable {
    private let isBidirectional: Bool
    private let half: Int
    /// Bucket of each absolute distance, up to where all further ones fall into the last.
    private let near: [Int]

    package init(count: Int, maximumDistance: Int, isBidirectional: Bool) {
        self.isBidirectional = isBidirectional
        half = isBidirectional ? count / 2 : count
        let exact = half / 2
        let (buckets, logarithm) = (half, Float(log(Double(maximumDistance) / Double(exact))))
        near = (0..<max(maximumDistance, exact) + 1).map { distance in
            if distance < exact { return distance }
            let share = logf(Float(distance) / Float(exact)) / logarithm * Float(buckets - exact)
            return min(buckets - 1, exact + Int(share))
        }
    }

    /// The bucket of key position minus query position.
    package func callAsFunction(_ distance: Int) -> Int {
        let reach = isBidirectional ? abs(distance) : max(-distance, 0)
        return near[min(reach, near.count - 1)] + (isBidirectional && distance > 0 ? half : 0)
    }
}
