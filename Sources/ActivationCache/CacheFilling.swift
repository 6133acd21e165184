/// Stores the activations of a split while the stages compute them: this rank's stage writes them, and samples that other
/// ranks will train on begin to move at once.
package final class CacheFilling {
    /// Records the micro-batches of this rank's stage; nil on a rank without a stage.
    package let recorder: CacheRecorder?
    private let mover: Redistribution?
    private let ship: ([Int]) -> Void

    /// - Parameter ship: queues the samples of a mini-batch for moving.
    init(
        _ recorder: CacheRecorder?, _ mover: Redistribution? = nil,
        _ ship: @escaping ([Int]) -> Void = { _ in }
    ) {
        self.recorder = recorder
        self.mover = mover
        self.ship = ship
    }

    /// Called after every mini-batch that this rank's stage has computed, on all ranks in the same order.
    package func didPass(_ samples: [Int]) throws {
        ship(samples)
        try advance()
    }

    /// Advances pending shipments, without blocking.
    package func advance() throws { try mover?.advance() }

    /// Whether this rank's disk has failed: all ranks must know before any of them stops.
    package var hasFailed: Bool { recorder?.hasFailed == true || mover?.hasFailed == true }

    /// Returns when everything that this rank computed is written and would survive the end of this process.
    ///
    /// - Throws: the disk's failure, of these writes or of a shipment.
    package func finish() throws {
        try recorder?.finish()
        try mover?.check()
    }
}
