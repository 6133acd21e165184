import CMPI
import Support

/// A pending transfer: a send, a receive or a collective operation.
///
/// A request retains its memory until the transfer is complete. Wait for every request: one that is dropped while
/// incomplete is tested a last time, and if the library still works on it, its memory is kept for the life of the
/// process, because the library would otherwise write into memory that is used for something else.
///
/// Used by one thread at a time.
public final class Request {
    private var handle: MPI_Request?
    private var memory: [AnyObject]
    private let operation: Operation
    private let limit: WaitLimit

    /// How many bytes a receive got, once complete; nil before, and for other transfers.
    public private(set) var receivedByteCount: Int?

    /// Starts a transfer.
    ///
    /// - Parameters:
    ///   - memory: what must outlive the transfer.
    ///   - start: the library's call, which fills in the handle.
    init(
        _ operation: Operation, limit: WaitLimit, memory: [AnyObject],
        start: (UnsafeMutablePointer<MPI_Request?>) throws -> Int32
    ) throws {
        self.operation = operation
        self.limit = limit
        self.memory = memory
        handle = cmpi_request_null()
        try timed { try communicates { try check(try start(&handle), operation.description) } }
    }

    /// True when the transfer is complete; advances it otherwise. Returns at once. Not collective.
    public func test() throws -> Bool { try timed(advance) }

    /// Returns when the transfer is complete; calls `meanwhile` now and then until it is.
    ///
    /// Throws when the communicator's wait limit passes first, naming the ranks that do not answer then, or when a signal
    /// asks the process to end (`TerminationSignal`). The memory then stays in use, the failure is isolating, and all that
    /// is left to the program is to end.
    public func wait(meanwhile: () throws -> Void = {}) throws {
        let job = operation.communicator.job
        let isComplete = try timed {
            try limit.poll(advance) {
                if let signal = TerminationSignal.received {
                    throw signal.failure("\(operation.speaker): \(signal) during \(operation.phrase)")
                }
                job.rollCall?.answer()
                try meanwhile()
            }
        }
        guard isComplete else {
            throw Failure.run(
                "\(operation.description) was not complete after \(limit.text)\(job.describeAbsentees())"
            ).isolating(.communication)
        }
    }

    private func advance() throws -> Bool {
        guard handle != nil else { return true }
        var done: Int32 = 0
        var status = MPI_Status()
        let code = MPI_Test(&handle, &done, &status)
        if code != Int32(MPI_SUCCESS) {
            // The library has given the request up, and with it the memory.
            release()
            try communicates { try check(code, operation.description) }
        }
        guard done != 0 else { return false }
        if operation.kind == .receive {
            var count: Int32 = 0
            try check(MPI_Get_count(&status, cmpi_byte(), &count), operation.description)
            receivedByteCount = Int(count)
        }
        release()
        return true
    }

    /// Adds the time that a body takes to what this process spends on messages.
    private func timed<T>(_ body: () throws -> T) rethrows -> T {
        let start = MonotonicClock.seconds
        defer { operation.communicator.job.communicationSeconds += MonotonicClock.seconds - start }
        return try body()
    }

    /// Marks what a body throws as isolating: a transfer that the library gave up leaves the ranks out of step.
    private func communicates(_ body: () throws -> Void) throws {
        do { try body() } catch let failure as Failure { throw failure.isolating(.communication) }
    }

    private func release() {
        handle = nil
        memory = []
    }

    deinit {
        guard handle != nil, MPIEnvironment.isRunning else { return }
        var done: Int32 = 0
        var status = MPI_Status()
        if MPI_Test(&handle, &done, &status) == Int32(MPI_SUCCESS), done == 0 {
            for object in memory { _ = Unmanaged.passRetained(object) }
        }
    }
}

/// What a request does, for messages: built into text only when something fails.
struct Operation: CustomStringConvertible {
    enum Kind: String {
        case send = "send"
        case receive = "receive"
        case broadcast = "broadcast"
        case allReduce = "all-reduce"
        case gather = "gather"
        case allGather = "all-gather"
        case allToAll = "all-to-all"
        case barrier = "barrier"
        case duplicate = "duplication"
    }

    let kind: Kind
    let communicator: CommunicatorLabel
    var byteCount: Int?
    /// The rank at the other end, or the root; nil where all ranks take part alike.
    var peer: Int?
    var tag: Int?

    /// "rank 2 (desktop): receive of 98304 bytes with tag 0 from rank 3 (mini) in pipeline".
    var description: String { "\(speaker): \(phrase)" }

    /// This process: "rank 2 (desktop)".
    var speaker: String { communicator.describe(communicator.rank) }

    /// What it does, with whom: other ranks by their number in the world and their host.
    var phrase: String {
        var text = kind.rawValue
        if let byteCount { text += " of \(byteCount) bytes" }
        if let tag { text += " with tag \(tag)" }
        if let peer {
            text += (kind == .receive || kind == .broadcast ? " from " : " to ") + communicator.describe(peer)
        } else {
            text += " among " + (0..<communicator.size).map(communicator.describe).joined(separator: ", ")
        }
        return text + communicator.place
    }
}

extension WaitLimit {
    /// "300 seconds", "1 second", "0.5 seconds".
    fileprivate var text: String {
        let number = seconds == seconds.rounded() && abs(seconds) < 1e9 ? "\(Int(seconds))" : "\(seconds)"
        return number == "1" ? "1 second" : "\(number) seconds"
    }
}
