import ActivationCache
import CKernels
import MPI
import Models
import Plans
import Stages
import Support
import TensorCore
import TextData

/// Data-parallel training from the cache: every rank holds the whole side network and the activations of its own slots;
/// no backbone, no pipeline.
final class CachedPhase {
    private let context: RankContext
    private let model: StageModel
    private let shape: CacheShape
    private let thread: IOThread
    /// The world rank that owns each slot of a mini-batch.
    private let owners: [Int]

    /// Parts read ahead of the one in use: reading is faster than training, and each weighs more than anything else here.
    private static let readAhead = 1

    /// - Parameters: `shape` has all layers that the side network reads; `owners` are world ranks by slot.
    init(
        _ model: StageModel, _ shape: CacheShape, thread: IOThread, owners: [Int], on context: RankContext
    ) {
        self.context = context
        self.model = model
        self.shape = shape
        self.thread = thread
        self.owners = owners
    }

    /// Trains on mini-batches of an epoch. Collective over the world.
    ///
    /// - Parameters: `miniBatches` follow upon what was trained; `files` hold this rank's samples of them; `dropout` makes the
    ///   keys of some samples, nil without; `checkpoint` saves where the run stands, but not behind the epoch's last
    ///   mini-batch, `isEpochsEnd`, which has its own.
    /// - Returns: seconds that this rank waited for its disk.
    func train(
        _ miniBatches: [[Int]], epoch: Int, isEpochsEnd: Bool, of data: SplitSamples,
        from files: [ActivationCacheFile], dropout: (([Int]) -> DropoutKeys)?, _ state: TrainingState,
        reporter: RunReporter, checkpoint: StepCheckpoint
    ) throws -> Double {
        let (builder, trace) = (data.builder, context.trace)
        let reader = CacheReader(
            files, shape, .train, builder, thread: thread, ledger: context.ledger, trace: trace)
        let gradients = model.parameters.gradients
        let steps = (epoch: epoch, first: state.completedSteps + 1)
        let lastStep = state.completedSteps + miniBatches.count
        try forEachBatch(miniBatches, reader, builder, steps: steps) { samples, parts, take in
            let step = TrainingStep(
                epoch: epoch, phase: .cached, samples: samples, builder: builder, start: context.moment)
            model.parameters.zeroGradients()
            var own = TrainingStep.Contribution()
            for (index, part) in parts.enumerated() {
                let activations = try take(part)
                let loss = trace.measure(.forward(index)) {
                    let batch = builder.batch(part)
                    let keys = dropout?(part)
                    let hidden = model.forward(batch, dropout: keys) { activations($0, $1) }
                    return model.head!.loss(
                        model.logits(hidden, batch, dropout: keys), batch.targets,
                        weight: 1 / Float(builder.termCount(samples)))
                }
                trace.measure(.backward(index)) { loss.backward() }
                own.lossSum += loss.sum
            }
            let isAlone = context.world.size == 1
            try trace.measure(.allReduceGradients, bytes: isAlone ? nil : gradients.count * 4) {
                try context.world.allReduceSum(
                    UnsafeMutableBufferPointer(start: gradients.pointer, count: gradients.count))
            }
            // All ranks have the same gradients now: one speaks for all.
            if context.rank == 0 { own.squaredNorm = ck_sum_squares(gradients.pointer, gradients.count) }
            let outcome = try step.finish(
                own, updating: model.parameters, state, checkpoint: checkpoint, reporter: reporter,
                on: context)
            if case .updated(isCheckpointDue: true) = outcome,
                !(isEpochsEnd && state.completedSteps == lastStep)
            {
                try checkpoint.save()
            }
        }
        return reader.waitedSeconds
    }

    /// Predicts samples of the validation split from its cache. Collective over the world.
    ///
    /// - Parameter files: hold this rank's samples of it.
    /// - Returns: on rank 0 all predictions; nil elsewhere.
    func predict(
        _ miniBatches: [[Int]], of data: SplitSamples, from files: [ActivationCacheFile]
    ) throws -> Predictions? {
        let builder = data.builder
        let reader = CacheReader(
            files, shape, .validation, builder, thread: thread, ledger: context.ledger, trace: context.trace)
        var predictions = Predictions()
        try context.ledger.withoutRecording {
            try forEachBatch(miniBatches, reader, builder) { _, own, take in
                for part in own {
                    let activations = try take(part)
                    let batch = builder.batch(part)
                    let hidden = model.forward(batch) { activations($0, $1) }
                    predictions.add(batch, hidden, model)
                }
            }
        }
        return try predictions.gathered(context.world)
    }

    /// Calls `body` with each mini-batch, this rank's samples of it in parts, and what gives the activations of the next part,
    /// read ahead.
    ///
    /// - Parameter steps: the epoch and the first step's number where the mini-batches are trained.
    private func forEachBatch(
        _ miniBatches: [[Int]], _ reader: CacheReader, _ builder: BatchBuilder,
        steps: (epoch: Int, first: Int)? = nil,
        _ body: ([Int], [[Int]], ([Int]) throws -> CacheReader.Activations) throws -> Void
    ) throws {
        let rank = context.world.rank
        let own = miniBatches.map { samples in
            parts(samples.indices.filter { owners[$0] == rank }.map { samples[$0] }, builder)
        }
        var toCome = own.enumerated().flatMap { index, parts in parts.map { (index, $0) } }[...]
        func request() {
            guard let (index, part) = toCome.popFirst() else { return }
            reader.request(part, step: steps.map { $0.first + index })
        }
        let trace = context.trace
        for _ in 0..<Self.readAhead { request() }
        for (index, samples) in miniBatches.enumerated() {
            try TerminationSignal.check()
            if let steps { trace.beginStep(steps.first + index, epoch: steps.epoch) }
            defer { trace.endStep() }
            try body(samples, own[index]) { part in
                let activations = try trace.measure("cache", .cacheWait) { try reader.next(part) }
                request()
                return activations
            }
        }
    }

    /// Cuts samples into parts of about as many tokens each, few enough that none has more than `CachedEpochs.partTokens` by
    /// more than a sample.
    private func parts(_ samples: [Int], _ builder: BatchBuilder) -> [[Int]] {
        let total = builder.tokenCount(samples)
        let count = (total + CachedEpochs.partTokens - 1) / CachedEpochs.partTokens
        var parts = [[Int]](repeating: [], count: count)
        var before = 0
        for sample in samples {
            let own = builder.tokenCount([sample])
            // A sample belongs where its middle lies.
            parts[min(count - 1, (2 * before + own) * count / (2 * total))].append(sample)
            before += own
        }
        return parts.filter { !$0.isEmpty }
    }
}
