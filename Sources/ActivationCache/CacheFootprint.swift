import Models
import Plans
import Stages
import TextData

/// Bytes that samples take on each rank's disk: where they are computed and where they are trained.
package struct CacheFootprint {
    private let worldSize: Int
    private let owners: [Int]
    /// By slot and stage, the rank that computes.
    private let computers: [[Int]]
    private let shapes: [CacheShape]
    private let complete: CacheShape
    private let samples: [Split: SplitSamples]
    private let numberBytes: Int
    /// Whether what is computed has to move before it is trained.
    private let moves: Bool

    /// - Parameters: `plan` says which rank computes each slot in the first epoch, `owners` which one trains it later.
    package init(_ contents: CacheContents, _ plan: Plan, owners: [Int], worldSize: Int) {
        self.worldSize = worldSize
        self.owners = owners
        samples = contents.samples
        let computers = owners.indices.map { slot in
            plan.stages.indices.map { plan.stages[$0].ranks[plan.position(ofSlot: slot, stage: $0)] }
        }
        self.computers = computers
        shapes = plan.stages.map { contents.shape(of: $0.layers) }
        complete = contents.complete
        numberBytes = contents.identity.precision.byteCount
        moves = plan.stages.count > 1 || owners.indices.contains { computers[$0] != [owners[$0]] }
    }

    /// Bytes of training samples that are computed in a window, on the rank where they take the most: several ranks divide
    /// them otherwise than a mini-batch's slots say, so they move in any case.
    package func windowBytes(_ samples: [(offset: Int, element: Int)]) -> Int {
        bytes(.train, samples).max()! * (moves || worldSize == 1 ? 1 : 2)
    }

    /// Bytes of some samples of a mini-batch, by rank.
    ///
    /// - Parameter slots: the samples, each with its slot.
    package func bytes(_ split: Split, _ slots: [(offset: Int, element: Int)]) -> [Int] {
        var sums = [Int](repeating: 0, count: worldSize)
        guard let builder = samples[split]?.builder else { return sums }
        for (slot, sample) in slots {
            func count(_ shape: CacheShape) -> Int {
                // A chunk's rest, tables and ids come on top of the numbers: about a fiftieth.
                shape.floatCount { builder.tokenCount(sample, $0) } * numberBytes * 51 / 50
            }
            for (stage, rank) in computers[slot].enumerated() { sums[rank] += count(shapes[stage]) }
            if moves { sums[owners[slot]] += count(complete) }
        }
        return sums
    }
}
