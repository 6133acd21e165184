import Reporting
import Support
import TextData

/// How much of the data the cache holds, where the disks have no room for all of it.
///
/// What does not fit is computed again in every later epoch: a window of mini-batches at a time, whose activations lie on
/// the disk only while they are trained.
package struct CacheExtent: Equatable {
    /// Mini-batches of the first epoch whose samples stay.
    package let residentSteps: Int
    /// Mini-batches of the first epoch, and samples in them.
    package let stepCount: Int
    /// Whether the validation split stays.
    package let keepsValidation: Bool
    /// Bytes that a window may take on each rank.
    package let windowBytes: Int

    /// Bytes that all samples would take, on all ranks.
    let wantedBytes: Int

    /// Whether everything stays.
    package var isWhole: Bool { residentSteps == stepCount && keepsValidation }

    /// Bytes that one rank's files would take.
    package struct Need: Equatable {
        /// For the validation split.
        package var validation: Int
        /// For each mini-batch of the first epoch.
        package var steps: [Int]

        package init(validation: Int = 0, steps: [Int]) {
            self.validation = validation
            self.steps = steps
        }

        package var total: Int { validation + steps.reduce(0, +) }
    }

    /// The share of a small disk that windows use.
    private static let windowShare = 4

    /// Fits the cache to what each rank may use: the same first mini-batches on all of them.
    ///
    /// - Parameters:
    ///   - needs: by rank.
    ///   - budgets: bytes of each rank.
    ///   - largestWindow: bytes that the largest mini-batch takes on any rank.
    /// - Throws: a configuration failure, when not even one mini-batch has room.
    package init(needs: [Need], budgets: [Int], hosts: [String], largestWindow: Int) throws {
        stepCount = needs[0].steps.count
        wantedBytes = needs.reduce(0) { $0 + $1.total }
        guard zip(needs, budgets).contains(where: { $0.total > $1 }) else {
            (residentSteps, keepsValidation, windowBytes) = (stepCount, true, 0)
            return
        }
        let smallest = budgets.min()!
        guard smallest >= Self.windowShare * largestWindow else {
            let rank = budgets.firstIndex(of: smallest)!
            throw Failure.configuration(
                "cache.budget_bytes: expected room for at least \(Self.windowShare * largestWindow) bytes on rank \(rank) "
                    + "(\(hosts[rank])), four times the largest mini-batch, found \(smallest); all samples would need "
                    + "\(needs[rank].total)")
        }
        windowBytes = smallest / Self.windowShare
        let window = windowBytes
        let keeps = zip(needs, budgets).allSatisfy { $0.validation <= $1 / Self.windowShare }
        keepsValidation = keeps
        residentSteps = zip(needs, budgets).map { need, budget in
            var room = budget - window - (keeps ? need.validation : 0)
            var count = 0
            // The first that does not fit ends it: whole mini-batches, in order.
            for bytes in need.steps {
                guard bytes <= room else { break }
                room -= bytes
                count += 1
            }
            return count
        }.min()!
    }

    /// Cuts mini-batches into windows whose samples have room, one at least in each.
    ///
    /// - Parameter bytes: that a mini-batch's samples that are not resident take, on the rank where they take the most.
    package func windows(_ miniBatches: [[Int]], bytes: ([Int]) -> Int) -> [Range<Int>] {
        guard !isWhole else { return miniBatches.isEmpty ? [] : [0..<miniBatches.count] }
        var windows: [Range<Int>] = []
        var start = 0
        var used = 0
        for (index, samples) in miniBatches.enumerated() {
            let size = bytes(samples)
            if index > start, used + size > windowBytes {
                windows.append(start..<index)
                (start, used) = (index, 0)
            }
            used += size
        }
        if start < miniBatches.count { windows.append(start..<miniBatches.count) }
        return windows
    }
}

extension CacheExtent {
    /// Fits the cache of a run to its disks.
    ///
    /// - Parameters:
    ///   - train: the mini-batches of the first epoch that the run trains; what it never trains is not kept.
    ///   - validation: the mini-batches of the validation split that cached epochs read; none where they read none.
    ///   - room: what the files of each rank may take.
    package init(
        _ footprint: CacheFootprint, train: [[Int]], validation: [[Int]], within room: CacheRoom
    ) throws {
        var needs = [Need](repeating: Need(steps: []), count: room.bytes.count)
        var largest = 0
        for samples in train {
            let bytes = footprint.bytes(.train, Array(samples.enumerated()))
            for rank in needs.indices { needs[rank].steps.append(bytes[rank]) }
            largest = max(largest, bytes.max()!)
        }
        for samples in validation {
            let bytes = footprint.bytes(.validation, Array(samples.enumerated()))
            for rank in needs.indices { needs[rank].validation += bytes[rank] }
        }
        try self.init(needs: needs, budgets: room.bytes, hosts: room.hosts, largestWindow: largest)
    }

    /// A note for the user about a cache that does not hold all samples; nil when it does.
    package var note: String? {
        guard !isWhole else { return nil }
        return "the cache of all samples would take \(Format.bytes(wantedBytes)), more than the disks hold: "
            + "\(Format.percent(Double(residentSteps) / Double(stepCount))) of the training samples stay"
            + (keepsValidation ? "" : " and none of the validation")
            + ", the others are computed again in every epoch"
    }
}
