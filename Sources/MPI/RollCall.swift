import CMPI
import Support
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Finds out, when a wait has failed, which ranks still answer, and settles which of them tells the failure.
///
/// Its messages of eight bytes have a communicator of their own. A rank answers while it waits for something itself. No
/// answer means that the rank is gone, or that it is busy computing. Nothing here waits longer than its time limit, and
/// nothing throws: an unreachable rank is one that does not answer.
final class RollCall {
    private enum Tag: Int { case question, answer, told }

    private let communicator: Communicator
    private var round: Int64 = 0
    private var nextLook = 0.0
    /// Whether this rank has told why the job ends, or another one has said that it did.
    private var isTold = false
    /// The ranks that did not answer the last roll call.
    private var absent: Set<Int> = []

    /// The longest that a call waits for answers, in seconds.
    private static let patience = 2.0
    /// Seconds between two looks of a rank that waits for something else.
    private static let lookInterval = 0.1

    /// - Parameter communicator: all ranks, and no other messages.
    init(_ communicator: consuming Communicator) { self.communicator = communicator }

    /// Answers pending questions. Every long wait calls it again and again; it looks ten times a second.
    func answer() {
        let now = MonotonicClock.seconds
        guard now >= nextLook else { return }
        nextLook = now + Self.lookInterval
        while take() != nil {}
    }

    /// The ranks that do not answer, those that are busy computing among them. Not collective.
    func absentees() -> [Int] {
        round += 1
        absent = Set(0..<communicator.size)
        absent.remove(communicator.rank)
        for peer in absent { send(.question, round, to: peer) }
        let deadline = MonotonicClock.seconds + Self.patience
        while !absent.isEmpty, MonotonicClock.seconds < deadline {
            guard let message = take() else {
                usleep(WaitLimit.sleepMicroseconds)
                continue
            }
            if message.tag == .answer, message.number == round { absent.remove(message.sender) }
        }
        return absent.sorted()
    }

    /// Calls `speak`, which tells why the job ends, if this rank is the one to do so. Not collective.
    ///
    /// Several ranks may fail at once, and the end of one is a signal to the others. Lower ranks go first; who has spoken
    /// tells the others so, and they keep silent.
    ///
    /// - Parameter announces: off where hosts may be dead that no roll call has found: the library can block on them.
    func withLastWord(announces: Bool, _ speak: () -> Void) {
        listen(until: MonotonicClock.seconds + (0.25 + Double(min(communicator.rank, 20))) * Self.turn)
        guard !isTold else { return }
        isTold = true
        speak()
        guard announces else { return }
        for peer in 0..<communicator.size where !absent.contains(peer) && peer != communicator.rank {
            send(.told, 0, to: peer)
        }
        // Lets the library hand the messages to the network.
        let deadline = MonotonicClock.seconds + Self.turn / 2
        while MonotonicClock.seconds < deadline {
            _ = take()
            usleep(WaitLimit.sleepMicroseconds)
        }
    }

    /// Seconds between the turns of two ranks.
    private static let turn = 0.1

    private func listen(until deadline: Double) {
        repeat {
            while take() != nil {}
            if isTold { return }
            usleep(WaitLimit.sleepMicroseconds)
        } while MonotonicClock.seconds < deadline
    }

    /// Sends without waiting; the request keeps what it needs alive.
    private func send(_ tag: Tag, _ number: Int64, to peer: Int) {
        let message = ByteBuffer(count: 8)
        message.bytes.storeBytes(of: number, as: Int64.self)
        do {
            _ = try communicator.immediateSend(message, to: peer, tag: tag.rawValue)
        } catch {
            // The other end is gone: it does not answer, which is what the caller finds.
        }
    }

    /// The next message, if there is one: questions are answered, an announcement is noted.
    private func take() -> (sender: Int, tag: Tag, number: Int64)? {
        var found: Int32 = 0
        var status = MPI_Status()
        let success = Int32(MPI_SUCCESS)
        guard
            MPI_Iprobe(cmpi_any_source(), cmpi_any_tag(), communicator.handle, &found, &status) == success,
            found != 0, let tag = Tag(rawValue: Int(status.MPI_TAG))
        else { return nil }
        let sender = status.MPI_SOURCE
        var number: Int64 = 0
        // It is here already, so this returns at once.
        guard
            MPI_Recv(&number, 8, cmpi_byte(), sender, status.MPI_TAG, communicator.handle, &status) == success
        else { return nil }
        switch tag {
        case .question: send(.answer, number, to: Int(sender))
        case .answer: break
        case .told: isTold = true
        }
        return (Int(sender), tag, number)
    }
}
