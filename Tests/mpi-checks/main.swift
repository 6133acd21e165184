// Ranks for the tests of MPI: `mpi-checks NAME ...`.
import RankChecks

runNamedChecks(of: messageChecks + collectiveChecks + failureChecks)

/// The byte at a position of a test message: differs by sender, round and position.
func pattern(_ sender: Int, _ round: Int, _ index: Int) -> UInt8 {
    UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8 &+ sender &* 101 &+ round &* 17)
}
