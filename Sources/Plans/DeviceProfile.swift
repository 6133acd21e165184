import Support

/// What was measured of one device: the process of one rank.
package struct DeviceProfile: Sendable, Equatable {
    package var rank: Int
    package var host: String
    package var coreCount: Int
    /// Threads that it computed on.
    package var threadCount: Int
    /// Bytes of memory that were available when the profile was made.
    package var memoryBytes: Int
    /// u_d of eq. (3): bytes that training may use; nil for no limit.
    package var memoryBudgetBytes: Int?
    /// The core type that the BLAS library chose ("Haswell").
    package var blasCore: String
    /// The numbers of samples that were timed, ascending.
    package var microBatchSizes: [Int]
    /// Times of each layer at each of `microBatchSizes`.
    package var layers: [LayerTimes]

    package init(
        rank: Int, host: String, coreCount: Int, threadCount: Int = 1, memoryBytes: Int,
        memoryBudgetBytes: Int?,
        blasCore: String, microBatchSizes: [Int], layers: [LayerTimes]
    ) {
        self.rank = rank
        self.host = host
        self.coreCount = coreCount
        self.threadCount = threadCount
        self.memoryBytes = memoryBytes
        self.memoryBudgetBytes = memoryBudgetBytes
        self.blasCore = blasCore
        self.microBatchSizes = microBatchSizes
        self.layers = layers
    }

    package func validate(layerCount: Int) throws {
        let sizes = microBatchSizes
        guard let first = sizes.first, first > 0, zip(sizes, sizes.dropFirst()).allSatisfy({ $0 < $1 }) else {
            throw Failure.configuration(
                "profile: device \(rank): expected ascending micro-batch sizes of at least 1, found \(sizes)")
        }
        guard layers.count == layerCount else {
            throw Failure.configuration(
                "profile: device \(rank): expected times of \(layerCount) layers, found \(layers.count)")
        }
        for (index, times) in layers.enumerated() {
            for (name, found) in [
                ("forward", times.forwardSeconds.count), ("backward", times.backwardSeconds.count),
            ]
            where found != sizes.count {
                throw Failure.configuration(
                    "profile: device \(rank): layer \(index): expected \(sizes.count) \(name) times, one for each "
                        + "micro-batch size, found \(found)")
            }
        }
    }
}

/// Seconds of one layer on one device at each measured micro-batch size.
package struct LayerTimes: Sendable, Equatable {
    package var forwardSeconds: [Double]
    package var backwardSeconds: [Double]

    package init(forwardSeconds: [Double], backwardSeconds: [Double]) {
        self.forwardSeconds = forwardSeconds
        self.backwardSeconds = backwardSeconds
    }

    package func forward(_ samples: Double, measuredAt sizes: [Int]) -> Double {
        Self.interpolate(samples, sizes, forwardSeconds)
    }

    package func backward(_ samples: Double, measuredAt sizes: [Int]) -> Double {
        Self.interpolate(samples, sizes, backwardSeconds)
    }

    /// Piecewise linear between measured sizes, linear beyond them.
    ///
    /// No samples take no time. Noise must not make more samples cheaper or a few samples free, so beyond the largest size
    /// the time does not fall, and below the smallest it is at least in proportion. One measured size alone is
    /// extrapolated in proportion.
    private static func interpolate(_ samples: Double, _ sizes: [Int], _ seconds: [Double]) -> Double {
        guard samples > 0 else { return 0 }
        let last = sizes.count - 1
        guard last > 0 else { return seconds[0] * samples / Double(sizes[0]) }
        let upper = sizes.firstIndex { samples <= Double($0) }
        let right = min(max(upper ?? last, 1), last)
        let (x0, x1) = (Double(sizes[right - 1]), Double(sizes[right]))
        let slope = (seconds[right] - seconds[right - 1]) / (x1 - x0)
        switch upper {
        case nil: return seconds[last] + max(slope, 0) * (samples - x1)
        case 0: return max(seconds[0] + slope * (samples - x0), seconds[0] * samples / x0)
        default: return seconds[right - 1] + slope * (samples - x0)
        }
    }
}
