import CMPI
import Support

/// A transfer under way: a send, a receive or a collective operation.
///
/// A request retains its memory until the transfer is complete. Wait for every request: one that is dropped while
/// incomplete is tested a last time, and if the library still works on it, its memory is kept for the life of the
/// process, because freeing it would let the library write into whatever comes to live there.
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
        try check(try start(&handle), operation.description)
    }

    /// True when the transfer is complete; advances it otherwise. Returns at once. Not collective.
    public func test() throws -> Bool {
        guard handle != nil else { return true }
        var done: Int32 = 0
        var status = MPI_Status()
        let code = MPI_Test(&handle, &done, &status)
        if code != Int32(MPI_SUCCESS) {
            // The library has given the request up, and with it the memory.
            release()
            try check(code, operation.description)
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

    /// Returns when the transfer is complete.
    ///
    /// Throws when the communicator's wait limit passes first; the memory then stays in use, and all that is left to
    /// the program is to end.
    public func wait() throws {
        guard try limit.poll(test) else {
            throw Failure.run("\(operation.description) was not complete after \(limit.text)")
        }
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

    var description: String {
        var text = "\(communicator.describe(communicator.rank)): \(kind.rawValue)"
        if let byteCount { text += " of \(byteCount) bytes" }
        if let tag { text += " with tag \(tag)" }
        if let peer {
            switch kind {
            case .send: text += " to "
            case .receive, .broadcast: text += " from "
            default: text += " to "
            }
            text += communicator.describe(peer)
        } else {
            text += " among \(communicator.size) ranks"
        }
        return text
    }
}

/// Who speaks in messages: the communicator's name with this process's place in it.
struct CommunicatorLabel {
    let name: String
    let rank: Int
    let size: Int

    /// "rank 2", or "rank 1 of stage 0" in a communicator other than the world.
    func describe(_ rank: Int) -> String {
        name == Communicator.worldName ? "rank \(rank)" : "rank \(rank) of \(name)"
    }
}

extension WaitLimit {
    /// "300 seconds", "1 second", "0.5 seconds".
    fileprivate var text: String {
        let number = seconds == seconds.rounded() && abs(seconds) < 1e9 ? "\(Int(seconds))" : "\(seconds)"
        return number == "1" ? "1 second" : "\(number) seconds"
    }
}
