/// An error meant for the person at the terminal: one line that names the file, line or key, what was expected and
/// what was found.
public struct Failure: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// Usage or configuration: the run never began. Exit status 2.
        case configuration
        /// The run failed. Exit status 1.
        case run
    }

    public let kind: Kind
    public let message: String
    /// Whether every rank of the job has thrown this same failure, so that all of them can end in order and one speaks for
    /// all.
    public var isShared = false

    /// Why this rank can no longer count on the others; nil as long as it can.
    public enum Isolation: Sendable, Equatable {
        /// A transfer failed, or was not complete in time.
        case communication
        /// A signal asked this process to end.
        case signal(Int32)
    }

    /// Set when the rank that throws this must not communicate any more: it saves what it can save alone, and ends.
    public var isolation: Isolation?

    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    /// The same failure, known to every rank.
    public var shared: Failure {
        var copy = self
        copy.isShared = true
        return copy
    }

    /// Whether a signal asked this process to end.
    public var isEndedBySignal: Bool {
        if case .signal = isolation { true } else { false }
    }

    /// The same failure, of a rank that can no longer count on the others.
    public func isolating(_ isolation: Isolation) -> Failure {
        var copy = self
        copy.isolation = isolation
        return copy
    }

    /// A wrong experiment, file or argument (exit status 2).
    public static func configuration(_ message: String) -> Failure { Failure(.configuration, message) }

    /// A run that could not go on (exit status 1).
    public static func run(_ message: String) -> Failure { Failure(.run, message) }

    public var description: String { message }
    public var exitStatus: Int32 { kind == .configuration ? 2 : 1 }
}
