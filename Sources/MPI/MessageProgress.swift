import CMPI
import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A helper thread that moves messages while the main thread computes.
///
/// Open MPI advances transfers only while some thread is inside the library: without a helper a transfer over the network
/// starts when its receiver waits for it. The helper probes a communicator of its own, on which no message ever arrives, and
/// sleeps. Each probe advances all pending transfers, so requests need not be shared between threads. With sleeps between
/// probes the helper costs a few per cent of a core; without them it would cost a whole core.
///
/// It rests until `resume`. Between hosts it hides transfers behind computation; ranks that share one machine's memory,
/// or its cores, gain nothing from it.
public final class MessageProgress {
    private let worker = Worker()
    private var channel: Communicator?
    #if canImport(Glibc)
        private var thread = pthread_t()
    #else
        private var thread: pthread_t?
    #endif

    /// Starts the thread, at rest. Collective over the communicator.
    public init(for communicator: borrowing Communicator) throws {
        let channel = try communicator.duplicate(name: "message progress")
        worker.communicator = channel.handle
        self.channel = consume channel
        let status = pthread_create(
            &thread, nil,
            { context in
                let bits = UInt(bitPattern: context)
                Unmanaged<Worker>.fromOpaque(UnsafeRawPointer(bitPattern: bits)!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(worker).toOpaque())
        guard status == 0 else {
            throw Failure.run(
                "the thread that moves messages cannot be started: \(String(cString: strerror(status)))")
        }
    }

    /// Begins to move messages. Not collective.
    public func resume() { worker.set(.working) }

    /// Rests: communication is over for a while, or all waiting happens inside the library. Not collective.
    public func pause() { worker.set(.resting) }

    /// Ends the thread and frees its communicator. Collective over the ranks that started it. Throws what the thread met.
    public func stop() throws {
        guard let channel = end() else { return }
        try channel.free()
        try check(worker.code, "moving messages")
    }

    deinit { _ = end() }

    private func end() -> Communicator? {
        guard let channel = channel.take() else { return nil }
        worker.set(.ending)
        #if canImport(Glibc)
            pthread_join(thread, nil)
        #else
            if let thread { pthread_join(thread, nil) }
        #endif
        return channel
    }
}

/// What the two threads share. The communicator is set before the thread starts, the code read after it has ended, and
/// the mode is guarded by the mutex.
private final class Worker: @unchecked Sendable {
    enum Mode { case resting, working, ending }

    var communicator: MPI_Comm?
    private(set) var code = Int32(MPI_SUCCESS)
    private var mode = Mode.resting
    /// A measured compromise. In 2 ms 1 Gbit/s brings 250 kB, which fits the sockets and the library's pending fragments. At
    /// 50 microseconds, probing costs hosts with a fifth to a half of a core more than the overlap gains.
    private static let sleepMicroseconds: UInt32 = 2000
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
    }

    deinit {
        pthread_cond_destroy(changed)
        pthread_mutex_destroy(mutex)
        changed.deallocate()
        mutex.deallocate()
    }

    func set(_ mode: Mode) {
        pthread_mutex_lock(mutex)
        self.mode = mode
        pthread_cond_signal(changed)
        pthread_mutex_unlock(mutex)
    }

    /// True when there is work; waits while there is none, and is false at the end.
    private func mayWork() -> Bool {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while mode == .resting { pthread_cond_wait(changed, mutex) }
        return mode == .working
    }

    func run() {
        var found: Int32 = 0
        var status = MPI_Status()
        while mayWork(), code == Int32(MPI_SUCCESS) {
            code = MPI_Iprobe(cmpi_any_source(), cmpi_any_tag(), communicator, &found, &status)
            usleep(Self.sleepMicroseconds)
        }
    }
}
