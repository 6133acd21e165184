import MPI
import Models
import Plans
import Support
import TensorCore
import TextData

/// Training and evaluation through the plan's stages, with the backbone: the first epoch, and every epoch without a
/// cache.
///
/// Making one is collective over the world. A rank that the plan leaves out has no model but takes part in the world's
/// sums, which keeps it in step with the others.
final class PipelinePhase {
    let session: Session
    let plan: Plan
    /// This rank's stage; nil for a rank that is left out.
    let model: StageModel?
    private let placement: Placement?
    private let exchange: BoundaryExchange?
    private let runtime: StageRuntime?
    private let synchronizer: GradientSynchronizer?
    /// Of streams, once there was one.
    private var pace: StreamPace?

    init(_ session: Session, _ plan: Plan) throws {
        self.session = session
        self.plan = plan
        let family = session.model.family
        let place = Placement(plan, rank: session.world.rank)
        placement = place
        if let place { session.ledger.activity = "making stage \(place.stageIndex)" }
        let model = try session.world.agree {
            try place.map {
                try StageModel(
                    family, session.modelConfiguration, steps: family.steps(of: $0.stage.layers),
                    frozen: session.model.frozenSource(session.ledger), withBackbone: true,
                    ledger: session.ledger)
            }
        }
        self.model = model
        let pipeline = PipelineCommunicator(try session.world.duplicate(name: "pipeline"))
        exchange = try place.map {
            try BoundaryExchange(
                $0, pipeline, family: family, session.modelConfiguration, ledger: session.ledger,
                trace: session.trace)
        }
        if let place, let model, let exchange {
            runtime = StageRuntime(
                model, place, exchange, schedule: session.experiment.pipelineSchedule, trace: session.trace)
        } else {
            runtime = nil
        }
        synchronizer = try GradientSynchronizer.make(
            place, plan: plan, family: family, session.modelConfiguration, bucket: model?.parameters,
            world: session.world)
    }

    /// Sets the stage's trainable values to their start. Collective over the world.
    func initialize(_ start: ParameterStart) throws {
        try session.world.agree {
            if let model { try start.initialize(model) }
        }
    }

    /// Lets what moves to other ranks go on between the stage's actions, while `body` runs.
    private func moving<R>(_ filling: CacheFilling?, _ body: () throws -> R) rethrows -> R {
        guard let filling, let runtime else { return try body() }
        runtime.betweenActions = filling.advance
        defer { runtime.betweenActions = {} }
        return try body()
    }

    /// Trains an epoch, or what is left of it or of the run's steps. Collective over the world.
    ///
    /// - Parameters: `filling` keeps the activations, nil without cache; `checkpoint` saves where the run stands, once the
    ///   activations so far are safe.
    func trainEpoch(
        _ epoch: Int, _ dataset: TokenizedDataset, _ state: TrainingState, filling: CacheFilling?,
        reporter: RunReporter, checkpoint: StepCheckpoint
    ) throws {
        let builder = try session.builder(dataset)
        let dropout = session.dropout(epoch: epoch)
        let trace = session.trace
        let miniBatches = session.remainingMiniBatches(dataset, epoch: epoch, state)
        for (index, samples) in miniBatches.enumerated() {
            try TerminationSignal.check()
            let start = session.moment
            trace.beginStep(state.completedSteps + 1, epoch: epoch)
            defer { trace.endStep() }
            model?.parameters.zeroGradients()
            let result = try moving(filling) {
                try runtime?.train(
                    samples: samples, builder: builder, dropout: dropout, recorder: filling?.recorder)
            }
            try filling?.didPass(samples)
            if let synchronizer {
                try trace.measure(.allReduceGradients, bytes: synchronizer.groupBytes) {
                    try synchronizer.synchronize()
                }
            }
            // One sum over the world: the loss, each parameter's share of the squared norm once, whether a disk failed, and
            // whether it is time for a checkpoint.
            var totals = [
                result?.lossSum ?? 0, synchronizer?.squaredNormContribution() ?? 0,
                filling?.hasFailed == true ? 1 : 0,
                checkpoint.isDue(state.completedSteps + 1) ? 1 : 0,
            ]
            try trace.measure("totals", .allReduce) {
                try totals.withUnsafeMutableBufferPointer { try session.world.allReduceSum($0) }
            }
            if totals[2] > 0 { break }
            let rate = state.learningRate
            if let model {
                trace.measure(.optimizerStep) { state.step(model.parameters, squaredNorm: totals[1]) }
            } else {
                state.skip()
            }
            try reporter.step(
                epoch: epoch, step: state.completedSteps, phase: .pipeline,
                loss: totals[0] / Double(builder.termCount(samples)), learningRate: rate,
                samples: samples.count,
                tokens: builder.tokenCount(samples), seconds: session.moment.seconds - start.seconds,
                communicationSeconds: session.moment.communication - start.communication)
            // The end of an epoch has a checkpoint of its own, after the evaluation.
            if totals[3] > 0, index < miniBatches.count - 1 {
                try session.world.agree { try filling?.finish() }
                try checkpoint.save()
            }
        }
        try session.world.agree { try filling?.finish() }
    }

    /// Runs mini-batches through the backbone alone, for the sake of their activations. Collective over the world.
    ///
    /// - Parameter didPass: is told how many mini-batches this rank has behind it.
    func record(
        _ miniBatches: [[Int]], of dataset: TokenizedDataset, filling: CacheFilling?,
        didPass: (Int) throws -> Void = { _ in }
    ) throws {
        let builder = try session.builder(dataset)
        let pace = try self.pace ?? StreamPace(session.world)
        self.pace = pace
        let advance = { try filling?.advance() ?? () }
        func pass(_ index: Int) throws {
            try TerminationSignal.check()
            try filling?.didPass(miniBatches[index])
            try didPass(index + 1)
            guard try pace.pass(hasFailed: filling?.hasFailed == true, meanwhile: advance) else { return }
            _ = try pace.finish(meanwhile: advance)
            try session.world.agree { try filling?.finish() }
        }
        if let runtime {
            try moving(filling) {
                try runtime.record(miniBatches, builder: builder, recorder: filling?.recorder, didPass: pass)
            }
        } else {
            for index in miniBatches.indices { try pass(index) }
        }
        _ = try pace.finish(meanwhile: advance)
        try session.world.agree { try filling?.finish() }
    }

    /// Predicts every sample of a data set. Collective over the world.
    ///
    /// - Parameters: `writes` asks for texts; otherwise for logits, or of a language model for losses; `decoding` says how
    ///   texts are written, and `onToken` sees them grow on rank 0; `filling` keeps the activations that pass by, unless
    ///   texts are generated; `maximumLength` bounds a generated text.
    /// - Returns: on rank 0 all predictions; nil elsewhere.
    func predict(
        _ dataset: TokenizedDataset, writes: Bool, decoding: Decoding = .greedy, filling: CacheFilling?,
        maximumLength: Int, onToken: ((Int, [Int32]) -> Void)? = nil
    ) throws -> Predictions? {
        let builder = try session.world.agree { try session.builder(dataset) }
        var predictions = Predictions()
        let generator =
            writes
            ? Generator(
                session, plan: plan, model: model, exchange: exchange, decoding: decoding,
                maximumLength: maximumLength, onToken: onToken)
            : nil
        for samples in session.order(sampleCount: dataset.count, isShuffled: false).miniBatches(epoch: 1) {
            if let generator {
                try generator.generate(samples, builder: builder, into: &predictions)
            } else {
                try moving(filling) {
                    try runtime?.evaluate(samples: samples, builder: builder, recorder: filling?.recorder) {
                        predictions.add($0, $1, model!)
                    }
                }
                try filling?.didPass(samples)
            }
        }
        try session.world.agree { try filling?.finish() }
        return try predictions.gathered(session.world)
    }
}

/// A checkpoint within an epoch: whether it is time for one after so many updates, and how to save it.
struct StepCheckpoint {
    let isDue: (_ step: Int) -> Bool
    let save: () throws -> Void

    /// For a run that is quick to start again.
    static var never: StepCheckpoint { StepCheckpoint(isDue: { _ in false }, save: {}) }
}

extension Session {
    var stepsPerEpoch: Int { order(sampleCount: train!.count, isShuffled: false).stepCount }

    /// Some samples in their order, as many at a time as a mini-batch has.
    func miniBatches(of samples: [Int]) -> [[Int]] {
        order(sampleCount: samples.count, isShuffled: false).miniBatches(epoch: 1).map { positions in
            positions.map { samples[$0] }
        }
    }

    /// The mini-batches of an epoch that are still to be trained: behind those that were, and within the run's steps.
    func remainingMiniBatches(_ dataset: TokenizedDataset, epoch: Int, _ state: TrainingState) -> [[Int]] {
        let order = order(sampleCount: dataset.count, isShuffled: experiment.training.isShuffled)
        let first = (epoch - 1) * order.stepCount
        return Array(
            order.miniBatches(epoch: epoch).prefix(state.plannedSteps - first)
                .dropFirst(state.completedSteps - first))
    }
}

extension BatchBuilder {
    /// Tokens of some samples in all stacks.
    func tokenCount(_ samples: [Int]) -> Int {
        samples.reduce(0) { sum, sample in stacks.reduce(sum) { $0 + tokenCount(sample, $1) } }
    }
}
