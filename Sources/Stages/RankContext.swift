import MPI
import Reporting
import TensorCore

/// What everything that computes on this rank is given: the other ranks, the account of its memory, and the record of
/// what it did.
package final class RankContext {
    /// All ranks of the run.
    package let world: Communicator
    /// The live and peak bytes of this rank's buffers.
    package let ledger: Ledger
    /// What this rank did and when; records only within the steps that are traced.
    package let trace: TraceRecorder

    package init(world: consuming Communicator, ledger: Ledger, trace: TraceRecorder) {
        self.world = world
        self.ledger = ledger
        self.trace = trace
    }

    /// This rank's number.
    package var rank: Int { world.rank }
}
