import CMPI
import Support

/// What all communicators of a job share: where its processes run, whether they still answer, and how long this one has
/// been occupied with messages.
final class Job {
    /// Each rank's host; empty while the world is being made.
    let hosts: [String]
    /// nil while the world is being made.
    let rollCall: RollCall?
    /// Seconds that this process has spent in transfers: starting them, moving them, waiting for them.
    var communicationSeconds = 0.0

    init(hosts: [String] = [], rollCall: RollCall? = nil) {
        self.hosts = hosts
        self.rollCall = rollCall
    }

    /// "rank 2 (desktop)".
    func describe(_ rank: Int) -> String {
        hosts.isEmpty ? "rank \(rank)" : "rank \(rank) (\(hosts[rank]))"
    }

    /// "; no answer from rank 3 (mini)": who does not answer now, for the end of a message. Takes up to two seconds.
    func describeAbsentees() -> String {
        guard let rollCall, hosts.count > 1 else { return "" }
        let absentees = TerminationSignal.withinSeconds(10) { rollCall.absentees() }
        return absentees.isEmpty
            ? "; all other ranks answer"
            : "; no answer from " + absentees.map(describe).joined(separator: ", ")
    }
}

/// Who speaks in messages: the communicator's name, its members, and this process's place among them.
struct CommunicatorLabel {
    let name: String
    let rank: Int
    /// The members' ranks in the world.
    let members: [Int]
    let job: Job

    var size: Int { members.count }

    /// A member by its rank in the world and its host: "rank 2 (desktop)". One that does not exist by its number alone.
    func describe(_ rank: Int) -> String {
        members.indices.contains(rank) ? job.describe(members[rank]) : "rank \(rank)"
    }

    /// " in stage 0"; nothing for the world.
    var place: String { name == Communicator.worldName ? "" : " in \(name)" }
}

extension CommunicatorLabel {
    /// Asks the library who belongs to a communicator.
    init(_ handle: MPI_Comm, name: String, job: Job) throws {
        func doing(_ what: String) -> String { "asking for \(what) of \(name)" }
        var rank: Int32 = 0
        var size: Int32 = 0
        try check(MPI_Comm_rank(handle, &rank), doing("the rank"))
        try check(MPI_Comm_size(handle, &size), doing("the size"))
        var group: MPI_Group?
        var all: MPI_Group?
        try check(MPI_Comm_group(handle, &group), doing("the members"))
        try check(MPI_Comm_group(cmpi_comm_world(), &all), doing("the members"))
        var members = [Int32](repeating: 0, count: Int(size))
        try check(
            MPI_Group_translate_ranks(group, size, Array(0..<size), all, &members), doing("the members"))
        try check(MPI_Group_free(&group), doing("the members"))
        try check(MPI_Group_free(&all), doing("the members"))
        self.init(name: name, rank: Int(rank), members: members.map { Int($0) }, job: job)
    }
}
