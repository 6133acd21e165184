import MPI
import Models
import Planning
import Support
import TensorCore

/// Moves hidden states to the next stage and gradients back, for one mini-batch at a time.
///
/// Stage groups may have different sizes and shares: a rank sends to each neighbour exactly the rows that both take.
/// Sends never block and own their buffers; receives are posted ahead of their use. Every rank knows all lengths, so
/// no sizes travel.
final class BoundaryExchange {
    enum Direction: Int { case forward, backward }

    private let placement: Placement
    private let communicator: PipelineCommunicator
    private let ledger: Ledger
    /// What crosses the boundary before this stage, and the one after it.
    private let incoming: Boundary?
    private let outgoing: Boundary?

    private var samples: [Int] = []
    private var tokenCount: (Int, StackKind) -> Int = { _, _ in 0 }
    private var movesMemory = true
    private var sends: [Request] = []
    private var queues: [Direction: ReceiveQueue] = [:]

    /// A boundary between two stages: the stack it lies in and whether encoder results cross it.
    struct Boundary {
        let stack: StackKind
        let withMemory: Bool
        let hiddenSize: Int
        let sideSize: Int

        /// The boundary before a planner layer.
        init(before layer: Int, _ family: any ModelFamily, sideSize: Int) {
            let last = family.plannerLayers[layer - 1].steps.last!.activation!
            stack = last.stack
            withMemory = stack == .decoder && family.stacks.count > 1
            hiddenSize = family.hiddenSize
            self.sideSize = sideSize
        }

        func payload(_ direction: Direction, withMemory memory: Bool) -> Payload {
            direction == .forward
                ? .forward(stack: stack, withMemory: memory, hiddenSize: hiddenSize, sideSize: sideSize)
                : .backward(stack: stack, withMemory: memory, sideSize: sideSize)
        }
    }

    init(
        _ placement: Placement, _ communicator: PipelineCommunicator, family: any ModelFamily, sideSize: Int,
        ledger: Ledger
    ) {
        self.placement = placement
        self.communicator = communicator
        self.ledger = ledger
        let layers = placement.stage.layers
        incoming =
            placement.isFirstStage ? nil : Boundary(before: layers.lowerBound, family, sideSize: sideSize)
        outgoing =
            placement.isLastStage ? nil : Boundary(before: layers.upperBound, family, sideSize: sideSize)
    }

    /// Whether the boundary to the next stage lies behind the decoder's beginning.
    var sendsDecoderStates: Bool { outgoing.map { $0.stack == .decoder } ?? false }
    /// Whether the boundary to the stage before does.
    var receivesDecoderStates: Bool { incoming.map { $0.stack == .decoder } ?? false }

    /// Starts a mini-batch.
    ///
    /// - Parameters:
    ///   - samples: by slot.
    ///   - tokenCount: how many tokens of a sample a stack computes.
    ///   - forward: the micro-batches that will be received from the stage before, in that order.
    ///   - backward: those whose gradients will be received from the stage after.
    ///   - movesMemory: off when the stages keep the encoder's results from an earlier pass, in generation.
    func begin(
        samples: [Int], tokenCount: @escaping (Int, StackKind) -> Int, forward: [Int], backward: [Int],
        movesMemory: Bool = true
    ) throws {
        self.samples = samples
        self.tokenCount = tokenCount
        self.movesMemory = movesMemory
        queues = [.forward: ReceiveQueue(pending: forward), .backward: ReceiveQueue(pending: backward)]
        for direction in [Direction.forward, .backward] { try post(direction) }
    }

    /// The hidden state of a micro-batch from the stage before. Its side tensors are leaves of the tape.
    func receiveForward(_ microBatch: Int) throws -> HiddenState {
        let tensors = try receive(.forward, microBatch)
        return HiddenState(
            backbone: Lane(hidden: tensors[0], encoderOutput: tensors.count > 2 ? tensors[2] : nil),
            side: Lane(hidden: tensors[1].asLeaf, encoderOutput: tensors.count > 2 ? tensors[3].asLeaf : nil))
    }

    /// The gradients of what was sent forward: of the side hidden state and, in a decoder, of the side encoder result.
    func receiveBackward(_ microBatch: Int) throws -> [Tensor] { try receive(.backward, microBatch) }

    /// Sends a hidden state on, without waiting.
    func sendForward(_ microBatch: Int, _ state: HiddenState, _ batch: MicroBatch) throws {
        let memory =
            outgoing!.withMemory && movesMemory
            ? [state.backbone.encoderOutput!, state.side.encoderOutput!] : []
        try send(.forward, microBatch, [state.backbone.hidden, state.side.hidden] + memory, batch)
    }

    /// Sends the gradients of what was received back, without waiting.
    func sendBackward(_ microBatch: Int, _ gradients: [Tensor], _ batch: MicroBatch) throws {
        try send(.backward, microBatch, gradients, batch)
    }

    /// Waits until everything sent is under way or gone.
    func finish() throws {
        for request in sends { try request.wait() }
        sends = []
    }

    /// Lets the library move what is outstanding, and forgets what is done.
    func progress() throws { sends = try sends.filter { !(try $0.test()) } }

    // MARK: Receiving

    /// Receives of one direction: those posted, and the micro-batches still to post.
    private struct ReceiveQueue {
        var pending: [Int]
        var posted:
            [(microBatch: Int, parts: [(request: Request, message: FloatMessage, slots: Range<Int>)])] = []
    }

    /// Receives posted ahead in each direction: one in use, one arriving.
    private static let postedAhead = 2

    private func post(_ direction: Direction) throws {
        guard let boundary = direction == .forward ? incoming : outgoing else { return }
        while let microBatch = queues[direction]!.pending.first,
            queues[direction]!.posted.count < Self.postedAhead
        {
            queues[direction]!.pending.removeFirst()
            let neighbour = placement.stageIndex + (direction == .forward ? -1 : 1)
            let slots = placement.slots(microBatch: microBatch, sampleCount: samples.count)
            let payload = boundary.payload(direction, withMemory: boundary.withMemory && movesMemory)
            var parts: [(request: Request, message: FloatMessage, slots: Range<Int>)] = []
            for (rank, common) in placement.overlaps(
                slots, stage: neighbour, microBatch: microBatch, sampleCount: samples.count)
            {
                let message = FloatMessage(count: payload.floatCount(rows(payload, common)), ledger: ledger)
                let request = try communicator.world.immediateReceive(
                    into: message, from: rank, tag: direction.rawValue)
                parts.append((request, message, common))
            }
            queues[direction]!.posted.append((microBatch, parts))
        }
    }

    private func receive(_ direction: Direction, _ microBatch: Int) throws -> [Tensor] {
        let boundary = (direction == .forward ? incoming : outgoing)!
        let posted = queues[direction]!.posted.removeFirst()
        precondition(posted.microBatch == microBatch, "receives are taken in the order of the schedule")
        let payload = boundary.payload(direction, withMemory: boundary.withMemory && movesMemory)
        let slots = placement.slots(microBatch: microBatch, sampleCount: samples.count)
        let total = rows(payload, slots)
        let tensors = zip(payload.parts, total).map {
            Tensor(rows: $1, columns: $0.columns, category: .activations, ledger: ledger)
        }
        var filled = [Int](repeating: 0, count: tensors.count)
        for (request, message, common) in posted.parts {
            try request.wait()
            var source = message.storage.pointer
            for (index, count) in rows(payload, common).enumerated() {
                let columns = payload.parts[index].columns
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
        let payload = boundary.payload(direction, withMemory: boundary.withMemory && movesMemory)
        precondition(tensors.count == payload.parts.count)
        let neighbour = placement.stageIndex + (direction == .forward ? 1 : -1)
        let slots = placement.slots(microBatch: microBatch, sampleCount: samples.count)
        for (rank, common) in placement.overlaps(
            slots, stage: neighbour, microBatch: microBatch, sampleCount: samples.count)
        {
            let message = FloatMessage(count: payload.floatCount(rows(payload, common)), ledger: ledger)
            let skipped = rows(payload, slots.lowerBound..<common.lowerBound)
            var target = message.storage.pointer
            for (index, count) in rows(payload, common).enumerated() {
                let columns = payload.parts[index].columns
                target.update(from: tensors[index].pointer + skipped[index] * columns, count: count * columns)
                target += count * columns
            }
            sends.append(
                try communicator.world.immediateSend(message, to: rank, tag: direction.rawValue))
        }
        try progress()
    }

    /// Rows of each part for some slots.
    private func rows(_ payload: Payload, _ slots: Range<Int>) -> [Int] {
        payload.parts.map { part in
            samples[slots].reduce(0) { $0 + tokenCount($1, part.stack) }
        }
    }
}

/// The communicator of the pipeline's messages: all ranks, apart from every other traffic.
final class PipelineCommunicator {
    let world: Communicator

    init(_ world: consuming Communicator) { self.world = world }
}
