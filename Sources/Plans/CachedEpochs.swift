/// What plans must know of how epochs from the cache are computed.
package enum CachedEpochs {
    /// A rank takes its samples of a mini-batch in parts of about so many tokens: larger ones are not faster, and take more
    /// memory.
    package static let partTokens = 1280
}

/// The ranks that train each slot from the cache.
extension Plan {
    /// The position in a stage's group that takes a slot of the mini-batch.
    package func position(ofSlot slot: Int, stage: Int) -> Int {
        var rest = slot % microBatchSize
        for (position, share) in stages[stage].share.enumerated() {
            if rest < share { return position }
            rest -= share
        }
        preconditionFailure("slot \(slot) has no rank: the plan was not validated")
    }

    /// The rank that owns each slot of a mini-batch in epochs from the cache. If the plan is one stage of all ranks, it is
    /// the rank that computed the slot, so that nothing moves; otherwise slots are dealt in proportion to the ranks' speeds.
    ///
    /// - Parameter speeds: of all ranks of the world, in any unit.
    package func cacheOwners(speeds: [Double]) -> [Int] {
        if stages.count == 1, stages[0].ranks.count == speeds.count {
            return (0..<miniBatchSize).map { stages[0].ranks[position(ofSlot: $0, stage: 0)] }
        }
        // Largest remainders: whole slots as near to the speeds as they can be.
        let total = speeds.reduce(0, +)
        let exact = speeds.map { $0 / total * Double(miniBatchSize) }
        var counts = exact.map { Int($0) }
        let order = exact.indices.sorted {
            exact[$0] - exact[$0].rounded(.down) > exact[$1] - exact[$1].rounded(.down)
        }
        for rank in order.prefix(miniBatchSize - counts.reduce(0, +)) { counts[rank] += 1 }
        return counts.enumerated().flatMap { [Int](repeating: $0, count: $1) }
    }

    /// How many slots of a mini-batch each rank of the world owns in epochs from the cache.
    package func cacheShares(_ profile: Profile) -> [Int] {
        cacheOwners(speeds: profile.cachedSpeeds).reduce(into: profile.devices.map { _ in 0 }) {
            $0[$1] += 1
        }
    }
}

extension Profile {
    /// Samples a second that each device trains from the cache.
    ///
    /// A layer's backward is that of what is trained, which for a cacheable technique is the side network alone; its forward
    /// takes about half as long, so 1.5 backwards are a layer's pass from the cache.
    package var cachedSpeeds: [Double] {
        devices.map { device in
            let size = device.microBatchSizes[device.microBatchSizes.count - 1]
            let seconds = layers.indices.reduce(0.0) {
                $0 + 1.5 * backwardSeconds(device: device.rank, layer: $1, samples: Double(size))
            }
            return Double(size) / max(seconds, 1e-9)
        }
    }
}
