import Models
import Plans
import Reporting
import Support
import TensorCore

/// What a rank is doing, for messages: "stage 1, B3".
struct StageActivity: CustomStringConvertible {
    let stage: Int
    let action: PipelineAction

    var description: String { "stage \(stage), \(action)" }
}

/// Runs one stage: interprets the action list of a `PipelineSchedule`.
package final class StageRuntime {
    /// What a mini-batch left on this rank.
    package struct Result {
        /// Sum of the loss terms computed here; zero but on the last stage.
        package var lossSum = 0.0
    }

    /// A micro-batch between its forward and its backward.
    private struct InFlight {
        var batch: MicroBatch
        var keys: DropoutKeys?
        /// What was received: its tensors that want gradients are leaves, whose gradients go back.
        var input: HiddenState?
        /// The stage's result, until it has left.
        var state: HiddenState?
        /// Where backward begins; nil when the forward will run again first.
        var roots: Roots?
        /// Whether backward follows.
        var comesBack = true
    }

    /// Where backward begins: at the loss on the last stage, at what was sent and gets gradients on the others.
    private enum Roots {
        case loss(Loss)
        case sent([Tensor])
    }

    package let model: StageModel
    private let placement: Placement
    private let exchange: BoundaryExchange
    private let schedule: PipelineSchedule
    private let trace: TraceRecorder
    private var inFlight: [Int: InFlight] = [:]
    /// Called between any two actions: advances transfers beside them.
    package var betweenActions: () throws -> Void = {}

    package init(
        _ model: StageModel, _ placement: Placement, _ exchange: BoundaryExchange,
        schedule: PipelineSchedule, trace: TraceRecorder
    ) {
        self.model = model
        self.placement = placement
        self.exchange = exchange
        self.schedule = schedule
        self.trace = trace
    }

    /// Runs forward and backward over a mini-batch and leaves gradients in the model's bucket.
    ///
    /// - Parameters:
    ///   - samples: the mini-batch by slot.
    ///   - dropout: makes the dropout keys of some samples; nil without dropout.
    ///   - recorder: sees every micro-batch's activations as they are made.
    package func train(
        samples: [Int], builder: BatchBuilder, dropout: (([Int]) -> DropoutKeys)?,
        recorder: ActivationRecorder?
    ) throws -> Result {
        let actions = schedule.actions(
            stage: placement.stageIndex, stageCount: placement.plan.stages.count,
            microBatchCount: placement.plan.microBatchCount)
        let sequence = MicroBatchSequence([samples], placement)
        let weight = 1 / Float(builder.termCount(samples))
        var result = Result()
        try run(actions, sequence, builder) { action in
            switch action {
            case .forward(let m):
                forward(
                    m, sequence, builder, weight: weight, dropout: dropout, recorder: recorder, &result)
            case .backward(let m): backward(m, weight: weight)
            default: break
            }
        }
        return result
    }

    /// Runs forward only and hands the last stage's states to `body`, micro-batch by micro-batch.
    package func evaluate(
        samples: [Int], builder: BatchBuilder, recorder: ActivationRecorder?,
        _ body: (MicroBatch, HiddenState) throws -> Void
    ) throws {
        let sequence = MicroBatchSequence([samples], placement)
        var result = Result()
        try ledger.withoutRecording {
            try run(forwardActions(sequence), sequence, builder) { action in
                guard case .forward(let m) = action else { return }
                forward(m, sequence, builder, weight: nil, dropout: nil, recorder: recorder, &result)
                if placement.isLastStage, let flight = inFlight.removeValue(forKey: m) {
                    try body(flight.batch, flight.state!)
                }
            }
        }
    }

    /// Runs only the frozen backbone over mini-batches, to record its activations. No optimizer step separates the
    /// mini-batches, so they follow each other without a gap.
    ///
    /// - Parameter didPass: called with the number of each mini-batch that this stage has computed.
    package func record(
        _ miniBatches: [[Int]], builder: BatchBuilder, recorder: ActivationRecorder?,
        didPass: (Int) throws -> Void
    ) throws {
        let sequence = MicroBatchSequence(miniBatches, placement)
        try ledger.withoutRecording {
            try run(forwardActions(sequence), sequence, builder, payload: .backbone) { action in
                guard case .forward(let m) = action else { return }
                let input = received.removeValue(forKey: m)
                let rows = sequence.samples(m)
                guard !rows.isEmpty else { return }
                let batch = builder.batch(rows)
                recorder?.begin(batch)
                let state = model.forward(
                    input, batch, runsSide: false,
                    onActivation: recorder.map { recorder in { recorder.record($0, $1, $2) } })
                recorder?.end()
                if !placement.isLastStage {
                    inFlight[m] = InFlight(batch: batch, state: state, comesBack: false)
                }
            } didRun: { action in
                // Only after its last states were sent: `didPass` may wait for the ranks that need them.
                guard
                    action
                        == (placement.isLastStage
                            ? .forward(action.microBatch!) : .sendForward(action.microBatch!)),
                    let index = sequence.miniBatchEnding(with: action.microBatch!)
                else { return }
                try didPass(index)
            }
        }
    }

    private func forwardActions(_ sequence: MicroBatchSequence) -> [PipelineAction] {
        PipelineSchedule.forwardOnly(
            stage: placement.stageIndex, stageCount: placement.plan.stages.count,
            microBatchCount: sequence.count)
    }

    private func run(
        _ actions: [PipelineAction], _ sequence: MicroBatchSequence, _ builder: BatchBuilder,
        payload: BoundaryExchange.Payload = .all, compute: (PipelineAction) throws -> Void,
        didRun: (PipelineAction) throws -> Void = { _ in }
    ) throws {
        try exchange.begin(
            sequence, tokenCount: builder.tokenCount,
            forward: actions.compactMap { if case .receiveForward(let m) = $0 { m } else { nil } },
            backward: actions.compactMap { if case .receiveBackward(let m) = $0 { m } else { nil } },
            payload: payload)
        // The all-reduce and the optimizer's step are the trainer's, once all stages have arrived.
        for action in actions where action.microBatch != nil {
            ledger.activity = StageActivity(stage: placement.stageIndex, action: action)
            try trace.measure(action) { try run(action, compute: compute) }
            try didRun(action)
            try betweenActions()
        }
        try trace.measure("sends", .wait) { try exchange.finish() }
    }

    private func run(_ action: PipelineAction, compute: (PipelineAction) throws -> Void) throws {
        switch action {
        case .receiveForward(let m): received[m] = try exchange.receiveForward(m)
        case .forward, .backward: try compute(action)
        case .sendForward(let m):
            guard let flight = inFlight[m] else { break }
            try exchange.sendForward(m, flight.state!, flight.batch)
            // What has left and gets no gradient is not needed again.
            if flight.comesBack { inFlight[m]!.state = nil } else { inFlight[m] = nil }
        case .receiveBackward(let m): seeds[m] = try exchange.receiveBackward(m)
        case .sendBackward(let m):
            if let gradients = returned.removeValue(forKey: m) {
                try exchange.sendBackward(m, gradients.tensors, gradients.batch)
            }
        case .allReduceGradients, .optimizerStep: break
        }
    }

    private var received: [Int: HiddenState] = [:]
    private var seeds: [Int: [Tensor]] = [:]
    private var returned: [Int: (tensors: [Tensor], batch: MicroBatch)] = [:]

    /// Runs the stage's steps, and on the last stage the loss.
    ///
    /// - Parameter weight: of the loss terms; nil in evaluation, which has no loss.
    private func compute(
        _ input: HiddenState?, _ batch: MicroBatch, _ keys: DropoutKeys?, weight: Float?,
        recorder: ActivationRecorder?
    ) -> (state: HiddenState, roots: Roots) {
        let state = model.forward(
            input, batch, dropout: keys,
            onActivation: recorder.map { recorder in { recorder.record($0, $1, $2) } })
        guard placement.isLastStage, let weight else { return (state, .sent(exchange.sentTensors(state))) }
        return (
            state,
            .loss(model.head!.loss(model.logits(state, batch, dropout: keys), batch.targets, weight: weight))
        )
    }

    private func forward(
        _ m: Int, _ sequence: MicroBatchSequence, _ builder: BatchBuilder, weight: Float?,
        dropout: (([Int]) -> DropoutKeys)?,
        recorder: ActivationRecorder?, _ result: inout Result
    ) {
        let input = received.removeValue(forKey: m)
        let rows = sequence.samples(m)
        guard !rows.isEmpty else { return }
        let batch = builder.batch(rows)
        let keys = dropout?(rows)
        recorder?.begin(batch)
        let recomputes = placement.stage.recompute
        let compute = {
            self.compute(input, batch, keys, weight: weight, recorder: recorder)
        }
        let (state, roots) = recomputes ? ledger.withoutRecording(compute) : compute()
        recorder?.end()
        if case .loss(let loss) = roots { result.lossSum += loss.sum }
        inFlight[m] = InFlight(
            batch: batch, keys: keys, input: input,
            // Where there is a loss, the state is not needed again.
            state: placement.isLastStage && weight != nil ? nil : state, roots: recomputes ? nil : roots,
            comesBack: weight != nil)
    }

    private func backward(_ m: Int, weight: Float) {
        let seeds = seeds.removeValue(forKey: m)
        guard let flight = inFlight.removeValue(forKey: m) else { return }
        let roots =
            flight.roots
            ?? compute(flight.input, flight.batch, flight.keys, weight: weight, recorder: nil).roots
        switch roots {
        case .loss(let loss): loss.backward()
        case .sent(let tensors): TensorCore.backward(from: tensors, seeds: seeds!)
        }
        let received = flight.input.map(exchange.receivedTensors) ?? []
        returned[m] = (received.map(Self.gradient), flight.batch)
    }

    private var ledger: Ledger { model.parameters.values.ledger }

    /// The gradient of a received leaf; zero where nothing used it.
    private static func gradient(of leaf: Tensor) -> Tensor {
        if let gradient = leaf.node?.gradient { return gradient }
        let zeros = Tensor(rows: leaf.rows, columns: leaf.columns, category: .gradients, ledger: leaf.ledger)
        zeros.fill(0)
        return zeros
    }
}
