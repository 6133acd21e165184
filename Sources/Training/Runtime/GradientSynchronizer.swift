import CKernels
import MPI
import Models
import Plans
import Support
import TensorCore

/// Sums trainable gradients over the ranks that hold them: one bucket over the stage group and, for parameters that
/// several stages hold (T5's relative-position tables, a tied embedding), one for each sharing group over all of its
/// ranks.
///
/// - Paper: AR^s(i) in eq. (5).
final class GradientSynchronizer {
    private let bucket: ParameterBucket
    private let group: Communicator
    private let sharing: [SharedSegment]
    private let isGroupLeader: Bool

    /// A sharing group that this rank takes part in: its segment, who shares it, and whether this rank speaks for it.
    private final class SharedSegment {
        let segment: Range<Int>
        let communicator: Communicator

        init(segment: Range<Int>, communicator: consuming Communicator) {
            self.segment = segment
            self.communicator = communicator
        }
    }

    /// Makes the communicators. Collective over the world; ranks that the plan leaves out get nil.
    ///
    /// - Parameter bucket: this rank's parameters; nil for a rank that is left out.
    static func make(
        _ placement: Placement?, plan: Plan, family: any ModelFamily,
        _ configuration: StageModel.Configuration, bucket: ParameterBucket?, world: borrowing Communicator
    ) throws -> GradientSynchronizer? {
        let group = try world.split(
            color: placement?.stageIndex, key: placement?.position ?? 0,
            name: "stage \(placement?.stageIndex ?? 0)")
        var sharing: [SharedSegment] = []
        let all = try plan.stages.flatMap {
            try StageModel.declarations(family, configuration, steps: family.steps(of: $0.layers))
        }
        for name in Set(all.compactMap(\.sharingGroup)).sorted() {
            let segment = bucket?.segment(name) ?? 0..<0
            if let communicator = try world.split(
                color: segment.isEmpty ? nil : 0, key: world.rank, name: "\(name) stages")
            {
                sharing.append(SharedSegment(segment: segment, communicator: communicator))
            }
        }
        guard let group, let bucket else { return nil }
        return GradientSynchronizer(bucket, group, sharing)
    }

    private init(_ bucket: ParameterBucket, _ group: consuming Communicator, _ sharing: [SharedSegment]) {
        self.bucket = bucket
        isGroupLeader = group.rank == 0
        self.group = group
        self.sharing = sharing
    }

    /// Sums the gradients in place. Collective over the stage group and over the stages that share parameters; every
    /// rank calls it once per mini-batch.
    func synchronize() throws {
        let own = bucket.segment(nil)
        if group.size > 1 { try group.allReduceSum(region(own)) }
        for part in sharing where part.communicator.size > 1 {
            try part.communicator.allReduceSum(region(part.segment))
        }
    }

    /// Bytes that are summed over the stage group; nil where the rank is alone in it.
    var groupBytes: Int? { group.size > 1 ? bucket.segment(nil).count * MemoryLayout<Float>.stride : nil }

    /// This rank's contribution to the squared norm of all gradients, such that the sum over the world counts every
    /// parameter once. Call after `synchronize`.
    func squaredNormContribution() -> Double {
        var sum = 0.0
        if isGroupLeader { sum += squares(bucket.segment(nil)) }
        for part in sharing where part.communicator.rank == 0 { sum += squares(part.segment) }
        return sum
    }

    private func squares(_ range: Range<Int>) -> Double {
        ck_sum_squares(bucket.gradients.pointer + range.lowerBound, range.count)
    }

    private func region(_ range: Range<Int>) -> UnsafeMutableBufferPointer<Float> {
        UnsafeMutableBufferPointer(start: bucket.gradients.pointer + range.lowerBound, count: range.count)
    }
}
