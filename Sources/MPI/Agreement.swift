import Support

/// Failing together: a rank that throws alone would leave the others waiting in the next collective operation.
extension Communicator {
    /// Runs `body` on every rank, and throws the same failure on all of them when it throws on any.
    ///
    /// Collective. `body` may itself contain collective operations if all its failures are then collective too. The
    /// failure is that of the lowest failing rank. It begins with "rank R (host): " unless every rank failed alike, so
    /// that a wrong experiment reads the same on one rank and on four. An error that is no `Failure` counts as a failed
    /// run. An isolating failure is thrown as it is: a rank that has lost the others cannot agree with them.
    public borrowing func agree<T>(_ body: () throws -> T) throws -> T {
        let outcome = Result(catching: body)
        if let failure = outcome.failure, failure.isolation != nil { throw failure }
        guard try allReduceMax(Int64(outcome.failure == nil ? 0 : 1)) > 0 else { return try outcome.get() }
        let verdicts = try allGather(Verdict(outcome.failure).bytes)
            .map(Verdict.init(bytes:))
        let first = verdicts.firstIndex { $0.failure != nil }!
        let failure = verdicts[first].failure!
        if verdicts.allSatisfy({ $0.failure == failure }) { throw failure.shared }
        throw Failure(failure.kind, "\(label.describe(first)): \(failure.message)").shared
    }

    /// Runs `body` on the root alone, or throws its failure on every rank. Collective.
    public borrowing func onRoot(_ body: () throws -> Void) throws {
        _ = try fromRoot {
            try body()
            return []
        }
    }

    /// Runs `body` on the root and returns its bytes on every rank, or throws its failure on every rank. Collective.
    public borrowing func fromRoot(root: Int = 0, _ body: () throws -> [UInt8]) throws -> [UInt8] {
        guard rank == root else {
            let message = try broadcast(nil, root: root)
            if let failure = Verdict(bytes: message).failure { throw failure.shared }
            return try broadcast(nil, root: root)
        }
        let outcome = Result(catching: body)
        if let failure = outcome.failure, failure.isolation != nil { throw failure }
        _ = try broadcast(Verdict(outcome.failure).bytes, root: root)
        if let failure = outcome.failure { throw failure.shared }
        return try broadcast(try outcome.get(), root: root)
    }
}

extension Result where Failure == any Error {
    /// The error as the person at the terminal would see it; nil for a success.
    fileprivate var failure: Support.Failure? {
        guard case .failure(let error) = self else { return nil }
        return error as? Support.Failure ?? .run(String(describing: error))
    }
}

/// How one rank fared, as it travels: a byte for the kind, then the message.
private struct Verdict {
    let failure: Failure?

    init(_ failure: Failure?) { self.failure = failure }

    init(bytes: [UInt8]) {
        let message = String(decoding: bytes.dropFirst(), as: UTF8.self)
        switch bytes[0] {
        case UInt8(ascii: "c"): failure = .configuration(message)
        case UInt8(ascii: "r"): failure = .run(message)
        default: failure = nil
        }
    }

    var bytes: [UInt8] {
        let mark =
            switch failure?.kind {
            case .configuration: UInt8(ascii: "c")
            case .run: UInt8(ascii: "r")
            case nil: UInt8(ascii: "-")
            }
        return [mark] + Array((failure?.message ?? "").utf8)
    }
}
