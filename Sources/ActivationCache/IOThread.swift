import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The one thread that calls HDF5: it runs what is enqueued, in order, while the main thread computes.
///
/// Only plain memory crosses over: the closures capture files, arrays of numbers and pointers into buffers that the
/// caller keeps alive until their ticket is complete.
package final class IOThread: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var queue: [@Sendable () -> Void] = []
    private var isStopping = false
    #if canImport(Glibc)
        private var thread = pthread_t()
    #else
        private var thread: pthread_t?
    #endif

    init() throws {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
        let context = Unmanaged.passRetained(self).toOpaque()
        let status = pthread_create(
            &thread, nil,
            { context in
                #if canImport(Glibc)
                    Unmanaged<IOThread>.fromOpaque(context!).takeRetainedValue().work()
                #else
                    Unmanaged<IOThread>.fromOpaque(context).takeRetainedValue().work()
                #endif
                return nil
            }, context)
        guard status == 0 else {
            Unmanaged<IOThread>.fromOpaque(context).release()
            throw Failure.run("the I/O thread cannot be started: \(String(cString: strerror(status)))")
        }
    }

    /// The outcome of something enqueued.
    package final class Ticket: @unchecked Sendable {
        private let owner: IOThread
        private var outcome: Result<Void, any Error>?
        /// When it ran, on `MonotonicClock`; known once it is done.
        package private(set) var times = 0.0...0.0

        fileprivate init(_ owner: IOThread) { self.owner = owner }

        fileprivate func run(_ body: () throws -> Void) {
            let start = MonotonicClock.seconds
            let result = Result(catching: body)
            owner.locked {
                outcome = result
                times = start...MonotonicClock.seconds
                pthread_cond_broadcast(owner.changed)
            }
        }

        /// Whether it is done, or has failed.
        package var isDone: Bool {
            var found = false
            owner.locked { found = outcome != nil }
            return found
        }

        /// Returns when it is done; throws what it threw.
        package func wait() throws {
            pthread_mutex_lock(owner.mutex)
            while outcome == nil { pthread_cond_wait(owner.changed, owner.mutex) }
            pthread_mutex_unlock(owner.mutex)
            try outcome!.get()
        }
    }

    /// Runs a closure on the thread, after all that was enqueued before it.
    package func enqueue(_ body: @escaping @Sendable () throws -> Void) -> Ticket {
        let ticket = Ticket(self)
        locked {
            queue.append { ticket.run(body) }
            pthread_cond_broadcast(changed)
        }
        return ticket
    }

    /// Runs a closure on the thread and waits for it.
    package func run(_ body: @escaping @Sendable () throws -> Void) throws { try enqueue(body).wait() }

    /// Runs a closure on the thread and waits for its value.
    package func value<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
        let box = Box<Value>()
        try run { box.value = try body() }
        return box.value!
    }

    /// Filled on the thread, read after it is done.
    private final class Box<Value>: @unchecked Sendable { var value: Value? }

    /// Ends the thread when its queue is empty.
    package func stop() {
        locked {
            isStopping = true
            pthread_cond_broadcast(changed)
        }
        #if canImport(Glibc)
            pthread_join(thread, nil)
        #else
            pthread_join(thread!, nil)
        #endif
    }

    private func locked(_ body: () -> Void) {
        pthread_mutex_lock(mutex)
        body()
        pthread_mutex_unlock(mutex)
    }

    private func work() {
        while true {
            pthread_mutex_lock(mutex)
            while queue.isEmpty && !isStopping { pthread_cond_wait(changed, mutex) }
            guard !queue.isEmpty else {
                pthread_mutex_unlock(mutex)
                return
            }
            let next = queue.removeFirst()
            pthread_mutex_unlock(mutex)
            next()
        }
    }
}
