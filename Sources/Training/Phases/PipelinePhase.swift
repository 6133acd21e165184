import ActivationCache
import Configuration
import MPI
import Models
import Plans
import Stages
import Support
import TensorCore
import TextData

/// Training and evaluation through the plan's stages, with the backbone: the first epoch, and every epoch without a
/// cache.
///
/// Making one is collective over the world. A rank that the plan leaves out has no model but takes part in the world's
/// sums, which keeps it in step with the others.
final class PipelinePhase {
    private let context: RankContext
    private let family: any ModelFamily
    private let plan: Plan
    /// Says how many samples an evaluation takes at a time.
    private let training: Experiment.Training
    /// This rank's stage; nil for a rank that is left out.
    let model: StageModel?
    private let placement: Placement?
    private let exchange: BoundaryExchange?
    private let runtime: StageRuntime?
    private let synchronizer: GradientSynchronizer?
    /// Of streams, once there was one.
    private var pace: StreamPace?

    init(
        _ tuned: TunedModel, _ plan: Plan, _ experiment: Experiment, on context: RankContext
    ) throws {
        self.context = context
        self.plan = plan
        training = experiment.training
        let (family, configuration, ledger) = (tuned.family, tuned.configuration, context.ledger)
        self.family = family
        let place = Placement(plan, rank: context.rank)
        placement = place
        if let place { ledger.activity = "making stage \(place.stageIndex)" }
        let model = try context.world.agree {
            try place.map {
                try StageModel(
                    family, configuration, steps: family.steps(of: $0.stage.layers),
                    frozen: tuned.files.frozenSource(ledger), withBackbone: true, ledger: ledger)
            }
        }
        self.model = model
        let pipeline = PipelineCommunicator(try context.world.duplicate(name: "pipeline"))
        exchange = try place.map {
            try BoundaryExchange(
                $0, pipeline, family: family, configuration, ledger: ledger, trace: context.trace)
        }
        if let place, let model, let exchange {
            runtime = StageRuntime(
                model, place, exchange, schedule: experiment.pipelineSchedule, trace: context.trace)
        } else {
            runtime = nil
        }
        synchronizer = try GradientSynchronizer.make(
            place, plan: plan, family: family, configuration, bucket: model?.parameters,
            world: context.world)
    }

    /// Sets the stage's trainable values to their start. Collective over the world.
    func initialize(_ start: ParameterStart) throws {
        try context.world.agree {
            if let model { try start.initialize(model) }
        }
    }

    /// Advances pending shipments between the stage's actions, while `body` runs.
    private func moving<R>(_ filling: CacheFilling?, _ body: () throws -> R) rethrows -> R {
        guard let filling, let runtime else { return try body() }
        runtime.betweenActions = filling.advance
        defer { runtime.betweenActions = {} }
        return try body()
    }

    /// Trains on mini-batches of an epoch. Collective over the world.
    ///
    /// - Parameters: `miniBatches` are those that are left of it; `dropout` makes the keys of some samples, nil without;
    ///   `filling` keeps the activations, nil without cache; `checkpoint` saves where the run stands, once the activations so
    ///   far are safe.
    func trainEpoch(
        _ epoch: Int, _ miniBatches: [[Int]], of data: SplitSamples, dropout: (([Int]) -> DropoutKeys)?,
        _ state: TrainingState, filling: CacheFilling?, reporter: RunReporter, checkpoint: StepCheckpoint
    ) throws {
        let (builder, trace) = (data.builder, context.trace)
        for (index, samples) in miniBatches.enumerated() {
            try TerminationSignal.check()
            let step = TrainingStep(
                epoch: epoch, phase: .pipeline, samples: samples, builder: builder, start: context.moment)
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
            let own = TrainingStep.Contribution(
                lossSum: result?.lossSum ?? 0, squaredNorm: synchronizer?.squaredNormContribution() ?? 0,
                hasFailed: filling?.hasFailed == true)
            guard
                case .updated(let isCheckpointDue) = try step.finish(
                    own, updating: model?.parameters, state, checkpoint: checkpoint, reporter: reporter,
                    on: context)
            else { break }
            // The end of an epoch has a checkpoint of its own, after the evaluation.
            if isCheckpointDue, index < miniBatches.count - 1 {
                try context.world.agree { try filling?.finish() }
                try checkpoint.save()
            }
        }
        try context.world.agree { try filling?.finish() }
    }

    /// Runs mini-batches through only the backbone, to record their activations. Collective over the world.
    ///
    /// - Parameter didPass: called with the number of mini-batches that this rank has computed.
    func record(
        _ miniBatches: [[Int]], of data: SplitSamples, filling: CacheFilling?,
        didPass: (Int) throws -> Void = { _ in }
    ) throws {
        let pace = try self.pace ?? StreamPace(context.world)
        self.pace = pace
        let advance = { try filling?.advance() ?? () }
        func pass(_ index: Int) throws {
            try TerminationSignal.check()
            try filling?.didPass(miniBatches[index])
            try didPass(index + 1)
            guard try pace.pass(hasFailed: filling?.hasFailed == true, meanwhile: advance) else { return }
            _ = try pace.finish(meanwhile: advance)
            try context.world.agree { try filling?.finish() }
        }
        if let runtime {
            try moving(filling) {
                try runtime.record(
                    miniBatches, builder: data.builder, recorder: filling?.recorder, didPass: pass)
            }
        } else {
            for index in miniBatches.indices { try pass(index) }
        }
        _ = try pace.finish(meanwhile: advance)
        try context.world.agree { try filling?.finish() }
    }

    /// Predicts every sample of a data set: logits or, of a language model, losses. Collective over the world.
    ///
    /// - Parameter filling: keeps the activations that pass by.
    /// - Returns: on rank 0 all predictions; nil elsewhere.
    func predict(_ data: SplitSamples, filling: CacheFilling? = nil) throws -> Predictions? {
        var predictions = Predictions()
        for samples in training.miniBatches(sampleCount: data.count) {
            try moving(filling) {
                try runtime?.evaluate(
                    samples: samples, builder: data.builder, recorder: filling?.recorder
                ) {
                    predictions.add($0, $1, model!)
                }
            }
            try filling?.didPass(samples)
        }
        try context.world.agree { try filling?.finish() }
        return try predictions.gathered(context.world)
    }

    /// Writes a text for every sample of a data set. Collective over the world.
    ///
    /// - Returns: on rank 0 all texts; nil elsewhere.
    func write(_ data: SplitSamples, _ request: Generator.Request) throws -> Predictions? {
        let generator = Generator(family, plan, model: model, exchange: exchange, on: context)
        var predictions = Predictions()
        for samples in training.miniBatches(sampleCount: data.count) {
            let texts = try generator.texts(for: samples, from: data.builder, request)
            for (sample, text) in zip(samples, texts) { predictions.texts[sample] = text }
        }
        // Every rank knows all texts: rank 0 speaks for all.
        return context.rank == 0 ? predictions : nil
    }
}
