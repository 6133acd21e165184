import CMPI
import Support

/// A group of ranks that exchange messages: the world, a stage group, the pipeline.
///
/// Freeing a communicator is collective, so it happens where a statement says so (`free()`) and never by the end of a
/// scope; one that is not freed lives until the library ends. Each purpose has its own communicator, so that messages
/// of one never match those of another. Used by one thread at a time.
///
/// Sums: Open MPI runs a fixed sequence of sends and additions for a given number of ranks, count and communicator, so
/// a sum has the same bits on every rank and in every run, but not the same bits under another number of ranks.
public struct Communicator: ~Copyable {
    let handle: MPI_Comm
    let label: CommunicatorLabel
    /// How long any wait on this communicator may last.
    public var waitLimit: WaitLimit

    static let worldName = "world"

    /// This process's number in the group, from 0.
    public var rank: Int { label.rank }
    /// The number of processes in the group.
    public var size: Int { label.size }
    /// What messages call the group.
    public var name: String { label.name }
    /// The host of each rank of the group.
    public var hosts: [String] { label.members.map { label.job.hosts[$0] } }
    /// Seconds that this process has spent so far in transfers of this and all other communicators: starting them, moving
    /// them, and waiting for them, which includes waiting for ranks that are late.
    public var communicationSeconds: Double { label.job.communicationSeconds }

    /// All processes of the job. Collective over them; called once, after `MPIEnvironment.initialize`.
    ///
    /// The ranks learn each other's hosts, for messages, and make the communicator on which they find out who is missing
    /// when a wait fails.
    public static func world(waitLimit: WaitLimit = .standard) throws -> Communicator {
        let handle = cmpi_comm_world()
        let nameless = try Communicator(handle, name: worldName, job: Job(), waitLimit: waitLimit)
        let hosts = try nameless.allGather(Array(MPIEnvironment.processorName.utf8))
            .map { String(decoding: $0, as: UTF8.self) }
        let rollCall = RollCall(try nameless.duplicate(name: "roll call"))
        MPIEnvironment.use(rollCall)
        return try Communicator(
            handle, name: worldName, job: Job(hosts: hosts, rollCall: rollCall), waitLimit: waitLimit)
    }

    private init(_ handle: MPI_Comm, name: String, job: Job, waitLimit: WaitLimit) throws {
        self.handle = handle
        self.waitLimit = waitLimit
        label = try CommunicatorLabel(handle, name: name, job: job)
    }

    /// Makes a communicator of the ranks that give the same color, numbered by key and then by rank here.
    ///
    /// Collective over this communicator. A rank that gives no color takes part in the call and gets nil. Colors are
    /// not negative.
    public borrowing func split(color: Int?, key: Int, name: String) throws -> Communicator? {
        // The library has no split that can be tested, so the waiting for late ranks is done before it.
        try barrier()
        var part: MPI_Comm? = cmpi_comm_null()
        try check(
            MPI_Comm_split(handle, color.map { Int32($0) } ?? cmpi_undefined(), Int32(key), &part),
            "\(label.describe(rank)): splitting into \(name)")
        guard color != nil, let part else { return nil }
        return try Communicator(part, name: name, job: label.job, waitLimit: waitLimit)
    }

    /// Makes a communicator of the same ranks whose messages never meet this one's. Collective.
    public borrowing func duplicate(name: String) throws -> Communicator {
        let copy = CommunicatorSlot()
        let request = try Request(
            Operation(kind: .duplicate, communicator: label), limit: waitLimit, memory: [copy]
        ) {
            MPI_Comm_idup(handle, copy.pointer, $0)
        }
        try request.wait()
        return try Communicator(copy.pointer.pointee!, name: name, job: label.job, waitLimit: waitLimit)
    }

    /// Frees the communicator. Collective over it; its requests must be complete. The world stays until `finalize`.
    public consuming func free() throws {
        var dying: MPI_Comm? = handle
        guard dying != cmpi_comm_world() else { return }
        try check(MPI_Comm_free(&dying), "\(label.describe(rank)): freeing \(name)")
    }
}

/// Where the library writes the handle of a duplicate while the duplication is pending.
private final class CommunicatorSlot {
    let pointer = UnsafeMutablePointer<MPI_Comm?>.allocate(capacity: 1)
    init() { pointer.initialize(to: cmpi_comm_null()) }
    deinit { pointer.deallocate() }
}
