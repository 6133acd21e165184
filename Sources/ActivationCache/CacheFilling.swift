/// What becomes of the activations of a split while they are made: this rank's stage writes them, and where they are
/// trained elsewhere, they begin to move at once.
package final class CacheFilling {
    /// Sees the micro-batches of this rank's stage; nil on a rank without one.
    package let recorder: CacheRecorder?
    private let mover: Redistribution?
    private let ship: ([Int]) -> Void

    /// - Parameter ship: sends the samples of a mini-batch on their way.
    init(
        _ recorder: CacheRecorder?, _ mover: Redistribution? = nil,
        _ ship: @escaping ([Int]) -> Void = { _ in }
    ) {
        self.recorder = recorder
        self.mover = mover
        self.ship = ship
    }

    /// Is told of every mini-batch that this rank's stage has behind it, on all ranks in the same order.
    package func didPass(_ samples: [Int]) throws {
        ship(samples)
        try advance()
    }

    /// Takes what moves as far as it gets without waiting.
    package func advance() throws { try mover?.advance() }

    /// Whether this rank's disk has failed: all ranks must know before any of them stops.
    package var hasFailed: Bool { recorder?.hasFailed == true || mover?.hasFailed == true }

    /// Returns when everything that this rank computed is written and would survive the end of this process; throws what
    /// the disk answered, also to what moves.
    package func finish() throws {
        try recorder?.finish()
        try mover?.check()
    }
}
