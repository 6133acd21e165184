import MPI
import Models
import Plans
import Reporting
import Support
import TensorCore

/// Moves hidden states to the next stage and gradients back, for some mini-batches at a time.
///
/// Stage groups may have different sizes and shares: a rank sends to each neighbour exactly the rows that both take.
/// Sends never block and own their buffers; receives are posted ahead of their use. Every rank knows all lengths, so
/// no sizes travel.
package final class BoundaryExchange {
    enum Direction: Int { case forward, backward }

    /// What of the state crosses.
    package enum Payload {
        case all
        /// The frozen backbone's states alone: the side network does not run.
        case backbone
        /// Without the encoder's results, which the stages keep from an earlier pass: in generation.
        case withoutEncoderOutput

        func includes(_ part: StatePart) -> Bool {
            switch self {
            case .all: true
            case .backbone: part.lane == .backbone
            case .withoutEncoderOutput: !part.isEncoderOutput
            }
        }
    }

    private let placement: Placement
    private let communicator: PipelineCommunicator
    private let ledger: Ledger
    private let trace: TraceRecorder
    /// What crosses the boundary before this stage, and the one after it.
    private let incoming: BoundaryDescription?
    private let outgoing: BoundaryDescription?

    private var sequence: MicroBatchSequence
    private var tokenCount: (Int, StackKind) -> Int = { _, _ in 0 }
    private var payload = Payload.all
    /// Requests of each send that may still be on its way, the oldest first.
    private var sends: [[Request]] = []
    private var queues: [Direction: ReceiveQueue] = [:]

    package init(
        _ placement: Placement, _ communicator: PipelineCommunicator, family: any ModelFamily,
        _ configuration: StageModel.Configuration, ledger: Ledger, trace: TraceRecorder
    ) throws {
        self.trace = trace
        self.placement = placement
        sequence = MicroBatchSequence([], placement)
        self.communicator = communicator
        self.ledger = ledger
        let layers = placement.stage.layers
        incoming =
            placement.isFirstStage
            ? nil : try BoundaryDescription(before: layers.lowerBound, family, configuration)
        outgoing =
            placement.isLastStage
            ? nil : try BoundaryDescription(before: layers.upperBound, family, configuration)
    }

    /// Whether the boundary to the next stage lies behind the decoder's beginning.
    package var sendsDecoderStates: Bool { outgoing.map { $0.stack == .decoder } ?? false }
    /// Whether the boundary to the stage before does.
    package var receivesDecoderStates: Bool { incoming.map { $0.stack == .decoder } ?? false }

    /// Starts some mini-batches, once those before are through.
    ///
    /// - Parameters:
    ///   - sequence: their micro-batches.
    ///   - tokenCount: how many tokens of a sample a stack computes.
    ///   - forward: the micro-batches that will be received from the stage before, in that order.
    ///   - backward: those whose gradients will be received from the stage after.
    package func begin(
        _ sequence: MicroBatchSequence, tokenCount: @escaping (Int, StackKind) -> Int, forward: [Int],
        backward: [Int], payload: Payload = .all
    ) throws {
        self.sequence = sequence
        self.tokenCount = tokenCount
        self.payload = payload
        queues = [.forward: ReceiveQueue(pending: forward), .backward: ReceiveQueue(pending: backward)]
        for direction in [Direction.forward, .backward] { try post(direction) }
    }

    /// The hidden state of a micro-batch from the stage before. The tensors whose gradients go back are leaves of the tape.
    package func receiveForward(_ microBatch: Int) throws -> HiddenState {
        let parts = parts(.forward, of: incoming!)
        let tensors = try receive(.forward, microBatch)
        return HiddenState(
            parts, zip(parts, tensors).map { incoming!.backward.contains($0) ? $1.asLeaf : $1 })
    }

    /// The gradients of what was sent forward, in the order of `sentTensors`.
    package func receiveBackward(_ microBatch: Int) throws -> [Tensor] { try receive(.backward, microBatch) }

    /// Sends a hidden state on, without waiting.
    package func sendForward(_ microBatch: Int, _ state: HiddenState, _ batch: MicroBatch) throws {
        try send(.forward, microBatch, parts(.forward, of: outgoing!).map { state[$0] }, batch)
    }

    /// Sends the gradients of what was received back, without waiting.
    package func sendBackward(_ microBatch: Int, _ gradients: [Tensor], _ batch: MicroBatch) throws {
        try send(.backward, microBatch, gradients, batch)
    }

    /// The tensors of a state whose gradients come back from the stage after.
    func sentTensors(_ state: HiddenState) -> [Tensor] { outgoing?.backward.map { state[$0] } ?? [] }

    /// The tensors of a received state whose gradients go back to the stage before.
    func receivedTensors(_ state: HiddenState) -> [Tensor] { incoming?.backward.map { state[$0] } ?? [] }

    /// Waits until all sends are complete.
    package func finish() throws {
        for request in sends.joined() { try request.wait() }
        sends = []
    }

    /// Lets the library advance pending sends, and drops completed ones. A stage that receives no gradients could otherwise
    /// run ahead and fill its memory with sends that the next stage has not received.
    private func progress() throws {
        sends = try sends.map { try $0.filter { !(try $0.test()) } }.filter { !$0.isEmpty }
        while sends.count > PipelineSchedule.sendsUnderWay {
            for request in sends.removeFirst() { try request.wait() }
        }
    }

    // MARK: Receiving

    /// Receives of one direction: those posted, and the micro-batches still to post.
    private struct ReceiveQueue {
        var pending: [Int]
        var posted: [(microBatch: Int, parts: [PostedReceive])] = []
    }

    /// A receive of the rows that this rank and one of the neighbouring stage both take.
    private struct PostedReceive {
        let rank: Int
        let request: Request
        let message: FloatMessage
        let slots: Range<Int>
    }

    private func post(_ direction: Direction) throws {
        guard let boundary = direction == .forward ? incoming : outgoing else { return }
        // Where nothing before a boundary is trained, no gradients cross it and no messages are exchanged.
        guard !parts(direction, of: boundary).isEmpty else { return }
        while let microBatch = queues[direction]!.pending.first,
            queues[direction]!.posted.count < PipelineSchedule.receivesAhead
        {
            queues[direction]!.pending.removeFirst()
            let neighbour = placement.stageIndex + (direction == .forward ? -1 : 1)
            let payload = self.parts(direction, of: boundary)
            var parts: [PostedReceive] = []
            for (rank, common) in sequence.overlaps(microBatch, stage: neighbour) {
                let message = FloatMessage(count: floatCount(payload, microBatch, common), ledger: ledger)
                let request = try communicator.world.immediateReceive(
                    into: message, from: rank, tag: direction.rawValue)
                parts.append(PostedReceive(rank: rank, request: request, message: message, slots: common))
            }
            queues[direction]!.posted.append((microBatch, parts))
        }
    }

    private func receive(_ direction: Direction, _ microBatch: Int) throws -> [Tensor] {
        let boundary = (direction == .forward ? incoming : outgoing)!
        guard !parts(direction, of: boundary).isEmpty else { return [] }
        let posted = queues[direction]!.posted.removeFirst()
        precondition(posted.microBatch == microBatch, "receives are taken in the order of the schedule")
        let payload = parts(direction, of: boundary)
        let total = rows(payload, microBatch, sequence.slots(microBatch))
        let tensors = zip(payload, total).map {
            Tensor(rows: $1, columns: $0.columns, category: .activations, ledger: ledger)
        }
        var filled = [Int](repeating: 0, count: tensors.count)
        for part in posted.parts {
            try trace.measure("from \(part.rank)", .wait, peer: part.rank, bytes: part.message.bytes.count) {
                try part.request.wait()
            }
            var source = part.message.storage.pointer
            for (index, count) in rows(payload, microBatch, part.slots).enumerated() {
                let columns = payload[index].columns
                (tensors[index].pointer + filled[index] * columns).update(
                    from: source, count: count * columns)
                filled[index] += count
                source += count * columns
            }
        }
        try post(direction)
        return tensors
    }

    // MARK: Sending

    private func send(_ direction: Direction, _ microBatch: Int, _ tensors: [Tensor], _ batch: MicroBatch)
        throws
    {
        let boundary = (direction == .forward ? outgoing : incoming)!
        let payload = parts(direction, of: boundary)
        precondition(tensors.count == payload.count)
        guard !payload.isEmpty else { return }
        let neighbour = placement.stageIndex + (direction == .forward ? 1 : -1)
        let slots = sequence.slots(microBatch)
        var requests: [Request] = []
        for (rank, common) in sequence.overlaps(microBatch, stage: neighbour) {
            let floatCount = floatCount(payload, microBatch, common)
            try trace.measure("to \(rank)", .transfer, peer: rank, bytes: floatCount * 4) {
                let message = FloatMessage(count: floatCount, ledger: ledger)
                let skipped = rows(payload, microBatch, slots.lowerBound..<common.lowerBound)
                var target = message.storage.pointer
                for (index, count) in rows(payload, microBatch, common).enumerated() {
                    let columns = payload[index].columns
                    target.update(
                        from: tensors[index].pointer + skipped[index] * columns, count: count * columns)
                    target += count * columns
                }
                requests.append(
                    try communicator.world.immediateSend(message, to: rank, tag: direction.rawValue))
            }
        }
        sends.append(requests)
        try progress()
    }

    // MARK: What crosses

    /// The parts that cross in a direction.
    private func parts(_ direction: Direction, of boundary: BoundaryDescription) -> [StatePart] {
        (direction == .forward ? boundary.forward : boundary.backward).filter(payload.includes)
    }

    /// Rows of each part for some slots of a micro-batch's mini-batch.
    private func rows(_ parts: [StatePart], _ microBatch: Int, _ slots: Range<Int>) -> [Int] {
        let samples = sequence.samples(microBatch, slots)
        return parts.map { part in samples.reduce(0) { $0 + tokenCount($1, part.stack) } }
    }

    private func floatCount(_ parts: [StatePart], _ microBatch: Int, _ slots: Range<Int>) -> Int {
        zip(parts, rows(parts, microBatch, slots)).reduce(0) { $0 + $1.0.columns * $1.1 }
    }
}
