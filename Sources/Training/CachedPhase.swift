import CKernels
import MPI
import Models
import Plans
import Support
import TensorCore
import TextData

/// Data-parallel training from the cache: every rank holds the whole side network and the activations of its own slots;
/// no backbone, no pipeline.
final class CachedPhase {
    private let session: Session
    private let model: StageModel
    private let shape: CacheShape
    private let thread: IOThread
    /// The world rank that owns each slot of a mini-batch.
    private let owners: [Int]

    /// Parts read ahead of the one in use: reading is faster than training, and each weighs more than anything else here.
    private static let readAhead = 1

    /// - Parameters: `shape` has all layers that the side network reads; `owners` are world ranks by slot.
    init(
        _ session: Session, _ model: StageModel, _ shape: CacheShape, thread: IOThread, owners: [Int]
    ) {
        self.session = session
        self.model = model
        self.shape = shape
        self.thread = thread
        self.owners = owners
    }

    /// Trains on mini-batches of an epoch. Collective over the world.
    ///
    /// - Parameters: `miniBatches` follow upon what was trained; `files` hold this rank's samples of them; `checkpoint` saves
    ///   where the run stands, but not behind the epoch's last mini-batch, `isEpochsEnd`, which has its own.
    /// - Returns: seconds that this rank waited for its disk.
    func train(
        _ miniBatches: [[Int]], epoch: Int, isEpochsEnd: Bool, _ dataset: TokenizedDataset,
        from files: [ActivationCacheFile], _ state: TrainingState, reporter: RunReporter,
        checkpoint: StepCheckpoint
    ) throws -> Double {
        let builder = try session.builder(dataset)
        let dropout = session.dropout(epoch: epoch)
        let trace = session.trace
        let reader = CacheReader(
            files, shape, .train, builder, thread: thread, ledger: session.ledger, trace: trace)
        let gradients = model.parameters.gradients
        let steps = (epoch: epoch, first: state.completedSteps + 1)
        let lastStep = state.completedSteps + miniBatches.count
        try forEachBatch(miniBatches, reader, builder, steps: steps) { samples, own, take in
            let start = session.moment
            model.parameters.zeroGradients()
            // One sum over the world: the loss, and whether it is time for a checkpoint.
            var totals = [0.0, checkpoint.isDue(state.completedSteps + 1) ? 1 : 0]
            for (index, part) in own.enumerated() {
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
                totals[0] += loss.sum
            }
            let isAlone = session.world.size == 1
            try trace.measure(.allReduceGradients, bytes: isAlone ? nil : gradients.count * 4) {
                try session.world.allReduceSum(
                    UnsafeMutableBufferPointer(start: gradients.pointer, count: gradients.count))
            }
            try trace.measure("totals", .allReduce) {
                try totals.withUnsafeMutableBufferPointer { try session.world.allReduceSum($0) }
            }
            let rate = state.learningRate
            trace.measure(.optimizerStep) {
                state.step(
                    model.parameters, squaredNorm: ck_sum_squares(gradients.pointer, gradients.count))
            }
            try reporter.step(
                epoch: epoch, step: state.completedSteps, phase: .cached,
                loss: totals[0] / Double(builder.termCount(samples)), learningRate: rate,
                samples: samples.count,
                tokens: builder.tokenCount(samples), seconds: session.moment.seconds - start.seconds,
                communicationSeconds: session.moment.communication - start.communication)
            if totals[1] > 0, !(isEpochsEnd && state.completedSteps == lastStep) { try checkpoint.save() }
        }
        return reader.waitedSeconds
    }

    /// Predicts every sample of the validation split from its cache. Collective over the world.
    ///
    /// - Parameter files: hold this rank's samples of it.
    /// - Returns: on rank 0 all predictions; nil elsewhere.
    func predict(_ dataset: TokenizedDataset, from files: [ActivationCacheFile]) throws -> Predictions? {
        let builder = try session.builder(dataset)
        let miniBatches = session.order(sampleCount: dataset.count, isShuffled: false).miniBatches(epoch: 1)
        let reader = CacheReader(
            files, shape, .validation, builder, thread: thread, ledger: session.ledger, trace: session.trace)
        var predictions = Predictions()
        try session.ledger.withoutRecording {
            try forEachBatch(miniBatches, reader, builder) { _, own, take in
                for part in own {
                    let activations = try take(part)
                    let batch = builder.batch(part)
                    let hidden = model.forward(batch) { activations($0, $1) }
                    predictions.add(batch, hidden, model)
                }
            }
        }
        return try predictions.gathered(session.world)
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
        let rank = session.world.rank
        let own = miniBatches.map { samples in
            parts(samples.indices.filter { owners[$0] == rank }.map { samples[$0] }, builder)
        }
        var toCome = own.enumerated().flatMap { index, parts in parts.map { (index, $0) } }[...]
        func request() {
            guard let (index, part) = toCome.popFirst() else { return }
            reader.request(part, step: steps.map { $0.first + index })
        }
        let trace = session.trace
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
