import CMPI
import Support
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The MPI library of this process: started once, ended once.
///
/// A program started without `mpirun` is a world of one rank.
public enum MPIEnvironment {
    /// Starts the library with support for calls from several threads, and makes errors return instead of ending the
    /// process.
    ///
    /// Collective over all processes of the job. Throws when the library cannot serve several threads at once: the
    /// helper that moves messages during computation needs it (see `MessageProgress`).
    public static func initialize() throws {
        if rankFromLauncher == nil {
            // A lone process would otherwise start Open MPI's daemon, which costs 0.1 s and can fail where there is
            // no network. A value that the user has set stays.
            setenv("OMPI_MCA_ess_singleton_isolated", "1", 0)
        }
        var provided: Int32 = 0
        try check(
            MPI_Init_thread(nil, nil, cmpi_thread_multiple(), &provided), "starting the library")
        guard provided == cmpi_thread_multiple() else {
            throw Failure.run(
                "MPI: expected support for calls from several threads (MPI_THREAD_MULTIPLE), found level "
                    + "\(provided) in \(libraryVersion)")
        }
        // Communicators made from the world inherit its handler.
        try check(
            MPI_Comm_set_errhandler(cmpi_comm_world(), cmpi_errors_return()),
            "making errors return")
    }

    /// Ends the library. Collective over all processes; every request must be complete.
    ///
    /// A rank that failed alone must call `abort` instead: `finalize` waits for the others.
    public static func finalize() throws {
        try check(MPI_Finalize(), "ending the library")
    }

    /// True between `initialize` and `finalize`.
    static var isRunning: Bool {
        var started: Int32 = 0
        var ended: Int32 = 0
        return MPI_Initialized(&started) == Int32(MPI_SUCCESS) && started != 0
            && MPI_Finalized(&ended) == Int32(MPI_SUCCESS) && ended == 0
    }

    /// Ends all processes of the job; `mpirun` exits with this status. Not collective.
    ///
    /// If a host is dead, the library may wait for its launcher for ever: this process then ends by itself.
    public static func abort(status: Int32) -> Never {
        if isRunning {
            TerminationSignal.withinSeconds(3) { _ = MPI_Abort(cmpi_comm_world(), status) }
        }
        // Not exit(): other threads may still run, and destructors of theirs must not.
        _exit(status)
    }

    /// Calls `speak`, which reports why the job ends, unless another rank or an earlier call has reported it. Not collective;
    /// higher ranks wait up to two seconds, so that lower ones are first.
    ///
    /// - Parameter announces: whether the others are told to keep silent; off where hosts may have died.
    public static func withLastWord(announces: Bool = true, _ speak: () -> Void) {
        guard isRunning, let rollCall = rollCall.withLock({ $0 })?.value else { return speak() }
        TerminationSignal.withinSeconds(10) { rollCall.withLastWord(announces: announces, speak) }
    }

    /// What `withLastWord` asks: like the library, one for the process.
    private static let rollCall = Mutex<RollCallBox?>(nil)

    static func use(_ rollCall: RollCall) {
        let box = RollCallBox(value: rollCall)
        self.rollCall.withLock {
            precondition($0 == nil, "the world is made once")
            $0 = box
        }
    }

    /// This process's rank in the world, known before (and without) `initialize`; 0 without `mpirun`.
    public static var rankBeforeInitialization: Int { rankFromLauncher ?? 0 }

    private static var rankFromLauncher: Int? {
        integerFromEnvironment("OMPI_COMM_WORLD_RANK") ?? integerFromEnvironment("PMIX_RANK")
    }

    /// The number of processes in the world, known before (and without) `initialize`; 1 without `mpirun`.
    public static var sizeBeforeInitialization: Int {
        integerFromEnvironment("OMPI_COMM_WORLD_SIZE") ?? 1
    }

    private static func integerFromEnvironment(_ name: String) -> Int? {
        getenv(name).flatMap { Int(String(cString: $0)) }
    }

    /// The name of the host, as the library tells it after `initialize`, and as the system does before.
    public static var processorName: String {
        if isRunning,
            let name = textOfLibrary(
                capacity: Int(MPI_MAX_PROCESSOR_NAME), { MPI_Get_processor_name($0, $1) })
        {
            return name
        }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
            guard gethostname(buffer.baseAddress!, 255) == 0 else { return "unknown host" }
            buffer[255] = 0
            return String(cString: buffer.baseAddress!)
        }
    }

    /// The library's name and version: the first line of what it says of itself.
    public static var libraryVersion: String {
        let text =
            textOfLibrary(
                capacity: Int(MPI_MAX_LIBRARY_VERSION_STRING), { MPI_Get_library_version($0, $1) })
            ?? "unknown MPI library"
        return String(text.prefix { $0 != "\n" && $0 != "," })
    }
}

/// The roll call is used by the main thread alone, which ends the job as well.
private struct RollCallBox: @unchecked Sendable {
    let value: RollCall
}
