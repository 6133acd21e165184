import Launching

/// The executable of the ranks.
let mpiChecks = builtExecutable("mpi-checks")

/// Runs checks on some ranks under `mpirun`.
func mpirun(ranks: Int, _ checks: [String], seconds: Double = 120) throws -> Outcome {
    try mpirun(ranks: ranks, mpiChecks, checks, seconds: seconds)
}
