#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// What the program that started this process says of the job, in environment variables.
package struct LaunchEnvironment: Sendable, Equatable {
    /// The launcher's name; nil when this process was started alone.
    package let launcher: String?
    /// How many processes were started together.
    package let processCount: Int
    /// This one's number among them.
    package let rank: Int
    /// The slots of all hosts of the job; nil where the launcher does not tell.
    package let slotCount: Int?

    /// Whether several processes were started and each found itself alone: their launcher is not that of the MPI library
    /// that the program is linked with.
    package func isForeign(worldSize: Int) -> Bool { worldSize == 1 && processCount > 1 }

    /// - Parameter environment: the value of a variable.
    package init(_ environment: (String) -> String?) {
        func number(_ name: String) -> Int? { environment(name).flatMap { Int($0) } }
        let known = Self.variables.first { number($0.count) != nil }
        launcher = known?.launcher
        processCount = known.flatMap { number($0.count) } ?? 1
        rank = known.flatMap { number($0.rank) } ?? 0
        slotCount = number("OMPI_UNIVERSE_SIZE")
    }

    /// Of this process.
    package static var current: LaunchEnvironment {
        LaunchEnvironment { getenv($0).map { String(cString: $0) } }
    }

    /// Open MPI's own come first: inside a job of Slurm they are the ones that count.
    private static let variables: [(count: String, rank: String, launcher: String)] = [
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "the mpirun of another version of Open MPI"),
        ("MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "the mpirun of MVAPICH"),
        ("PMI_SIZE", "PMI_RANK", "the mpirun of another MPI (MPICH, for example)"),
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "srun"),
    ]
}
