import Models
import Planning
import Reporting
import Support
import TensorCore

/// Runs one stage: interprets the action list that `Schedule` made.
final class StageRuntime {
    /// What a mini-batch left on this rank.
    struct Result {
        /// Sum of the loss terms computed here; zero but on the last stage.
        var lossSum = 0.0
    }

    /// A micro-batch between its forward and its backward.
    private struct InFlight {
        var batch: MicroBatch
        /// What was received and wants gradients: leaves whose gradients go back.
        var received: [Tensor]
        /// The stage's result; nil when it has left and backward needs only `sent`.
        var state: HiddenState?
        /// What was sent and gets gradients.
        var sent: [Tensor]
        var loss: Loss?
    }

    let model: StageModel
    private let placement: Placement
    private let exchange: BoundaryExchange
    private let trace: TraceRecorder
    private var inFlight: [Int: InFlight] = [:]

    init(
        _ model: StageModel, _ placement: Placement, _ exchange: BoundaryExchange, trace: TraceRecorder
    ) {
        self.model = model
        self.placement = placement
        self.exchange = exchange
        self.trace = trace
    }

    /// Runs forward and backward over a mini-batch and leaves gradients in the model's bucket.
    ///
    /// - Parameters:
    ///   - samples: the mini-batch by slot.
    ///   - dropout: makes the dropout keys of some samples; nil without dropout.
    ///   - recorder: sees every micro-batch's activations as they are made.
    func train(
        samples: [Int], builder: BatchBuilder, dropout: (([Int]) -> DropoutKeys)?,
        recorder: ActivationRecorder?
    ) throws -> Result {
        let actions = Schedule.oneForwardOneBackward(
            stage: placement.stageIndex, stageCount: placement.plan.stages.count,
            microBatchCount: placement.plan.microBatchCount)
        let weight = 1 / Float(builder.termCount(samples))
        var result = Result()
        try run(actions, samples, builder) { action in
            switch action {
            case .forward(let m):
                try forward(
                    m, samples, builder, weight: weight, dropout: dropout, recorder: recorder, &result)
            case .backward(let m): backward(m)
            default: break
            }
        }
        return result
    }

    /// Runs forward only and hands the last stage's states to `body`, micro-batch by micro-batch.
    func evaluate(
        samples: [Int], builder: BatchBuilder, recorder: ActivationRecorder?,
        _ body: (MicroBatch, HiddenState) throws -> Void
    ) throws {
        let actions = Schedule.forwardOnly(
            stage: placement.stageIndex, stageCount: placement.plan.stages.count,
            microBatchCount: placement.plan.microBatchCount)
        var result = Result()
        try model.parameters.values.ledger.withoutRecording {
            try run(actions, samples, builder) { action in
                guard case .forward(let m) = action else { return }
                try forward(m, samples, builder, weight: nil, dropout: nil, recorder: recorder, &result)
                if placement.isLastStage, let flight = inFlight.removeValue(forKey: m) {
                    try body(flight.batch, flight.state!)
                }
            }
        }
        inFlight = [:]
    }

    private func run(
        _ actions: [PipelineAction], _ samples: [Int], _ builder: BatchBuilder,
        compute: (PipelineAction) throws -> Void
    ) throws {
        try exchange.begin(
            samples: samples, tokenCount: builder.tokenCount,
            forward: actions.compactMap { if case .receiveForward(let m) = $0 { m } else { nil } },
            backward: actions.compactMap { if case .receiveBackward(let m) = $0 { m } else { nil } })
        // The all-reduce and the optimizer's step are the trainer's, once all stages have arrived.
        for action in actions where action.microBatch != nil {
            try trace.measure(action) { try run(action, compute: compute) }
        }
        try trace.measure("sends", .wait) { try exchange.finish() }
    }

    private func run(_ action: PipelineAction, compute: (PipelineAction) throws -> Void) throws {
        switch action {
        case .receiveForward(let m): received[m] = try exchange.receiveForward(m)
        case .forward, .backward: try compute(action)
        case .sendForward(let m):
            if let flight = inFlight[m] { try exchange.sendForward(m, flight.state!, flight.batch) }
            // What has left and gets no gradient is not needed again.
            inFlight[m]?.state = nil
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

    private func forward(
        _ m: Int, _ samples: [Int], _ builder: BatchBuilder, weight: Float?,
        dropout: (([Int]) -> DropoutKeys)?,
        recorder: ActivationRecorder?, _ result: inout Result
    ) throws {
        let input = received.removeValue(forKey: m)
        let rows = Array(samples[placement.slots(microBatch: m, sampleCount: samples.count)])
        guard !rows.isEmpty else { return }
        let batch = builder.batch(rows)
        let keys = dropout?(rows)
        recorder?.begin(batch)
        let state = model.forward(
            input, batch, dropout: keys,
            onActivation: recorder.map { recorder in { recorder.record($0, $1, $2) } })
        recorder?.end()
        var flight = InFlight(
            batch: batch, received: input.map(exchange.receivedTensors) ?? [], state: state,
            sent: exchange.sentTensors(state))
        if placement.isLastStage, let weight {
            let loss = model.head!.loss(
                model.logits(state, batch, dropout: keys), batch.targets, weight: weight)
            result.lossSum += loss.sum
            flight.loss = loss
        }
        inFlight[m] = flight
    }

    private func backward(_ m: Int) {
        let seeds = seeds.removeValue(forKey: m)
        guard let flight = inFlight.removeValue(forKey: m) else { return }
        if let loss = flight.loss {
            TensorCore.backward(from: [loss.root], seeds: [loss.seed])
        } else {
            TensorCore.backward(from: flight.sent, seeds: seeds!)
        }
        returned[m] = (flight.received.map(Self.gradient), flight.batch)
    }

    /// The gradient of a received leaf; zero where nothing used it.
    private static func gradient(of leaf: Tensor) -> Tensor {
        if let gradient = leaf.node?.gradient { return gradient }
        let zeros = Tensor(rows: leaf.rows, columns: leaf.columns, category: .gradients, ledger: leaf.ledger)
        zeros.fill(0)
        return zeros
    }
}
