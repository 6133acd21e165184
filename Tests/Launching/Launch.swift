import Foundation

/// How a launched program ended.
public struct Outcome: Sendable {
    /// The exit status; 128 plus the signal's number when a signal ended it.
    public let status: Int32
    public let output: String
    public let errors: String

    /// How many lines of the output are this one.
    public func count(of line: String) -> Int { lines.filter { $0 == line }.count }

    /// The lines of the output that are not empty.
    public var lines: [Substring] { output.split(separator: "\n") }
}

/// The path of an executable of this package, built beside the test bundle.
public func builtExecutable(_ name: String) -> String {
    URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appendingPathComponent(name)
        .path
}

/// Runs a program on some ranks under `mpirun`, which says nothing of its own.
///
/// - Parameter whileRunning: called once with the process id of `mpirun`.
public func mpirun(
    ranks: Int, _ program: String, _ arguments: [String], seconds: Double,
    whileRunning: (Int32) throws -> Void = { _ in }
) throws -> Outcome {
    try mpirun([(ranks, program, arguments)], seconds: seconds, whileRunning: whileRunning)
}

/// Runs several programs as one job, the ranks of the first one first.
///
/// - Parameter whileRunning: called once with the process id of `mpirun`.
public func mpirun(
    _ parts: [(ranks: Int, program: String, arguments: [String])], seconds: Double,
    whileRunning: (Int32) throws -> Void = { _ in }
) throws -> Outcome {
    let options = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-q"]
    let programs = parts.map { ["-np", "\($0.ranks)", $0.program] + $0.arguments }
    return try launch(
        "/usr/bin/env", options + programs.joined(separator: [":"]), seconds: seconds,
        whileRunning: whileRunning)
}

/// The ids of the processes that a process on this machine has started and that are still there.
public func children(of parent: Int32) throws -> [Int32] {
    try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap(Int32.init).filter {
        // A process that ends meanwhile is none that is looked for.
        (try? String(contentsOfFile: "/proc/\($0)/status", encoding: .utf8))?
            .contains("\nPPid:\t\(parent)\n") == true
    }
}

/// The process id of a rank that an `mpirun` on this machine has started.
public func process(ofRank rank: Int, under launcher: Int32) throws -> Int32 {
    let mark = Data("OMPI_COMM_WORLD_RANK=\(rank)\0".utf8)
    for number in try children(of: launcher) {
        let environment = try? Data(contentsOf: URL(fileURLWithPath: "/proc/\(number)/environ"))
        if environment?.range(of: mark) != nil { return number }
    }
    throw LaunchError("mpirun (process \(launcher)) has no rank \(rank)")
}

/// Runs a program to its end, or kills it after a time limit and throws.
///
/// - Parameter whileRunning: called once with the program's process id.
public func launch(
    _ path: String, _ arguments: [String], seconds: Double, whileRunning: (Int32) throws -> Void = { _ in }
) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    // A test that runs under mpirun itself must not pass its place in that job on.
    var environment = ProcessInfo.processInfo.environment.filter {
        !$0.key.hasPrefix("OMPI_") && !$0.key.hasPrefix("PMIX_")
    }
    // Jobs of one user share a directory under this one. A job that ends removes it while another one, that is
    // starting, counts on it.
    environment["TMPDIR"] = folder.path
    process.environment = environment
    // Files rather than pipes: nobody has to drain them while waiting.
    let files = try ["output", "errors"].map { name in
        let url = folder.appendingPathComponent(name)
        try Data().write(to: url)
        return (url, try FileHandle(forWritingTo: url))
    }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = files[0].1
    process.standardError = files[1].1
    try withoutBlockedSignals { try process.run() }
    do {
        try whileRunning(process.processIdentifier)
    } catch {
        process.terminate()
        process.waitUntilExit()
        throw error
    }
    let deadline = Date(timeIntervalSinceNow: seconds)
    while process.isRunning, Date() < deadline { usleep(10_000) }
    let late = process.isRunning
    if late {
        // mpirun ends its ranks when it is told to end.
        process.terminate()
    }
    process.waitUntilExit()
    let texts = try files.map { String(decoding: try Data(contentsOf: $0.0), as: UTF8.self) }
    if late {
        throw LaunchError("\(arguments.joined(separator: " ")): not done after \(seconds) s\n" + texts[1])
    }
    let status = process.terminationStatus
    return Outcome(
        status: process.terminationReason == .exit ? status : 128 + status, output: texts[0], errors: texts[1]
    )
}

/// Calls a body while no signal is blocked on this thread: tests run on threads where most are, and a program inherits that.
private func withoutBlockedSignals(_ body: () throws -> Void) rethrows {
    var none = sigset_t()
    sigemptyset(&none)
    var before = sigset_t()
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try body()
}

/// Why a launch has no outcome.
public struct LaunchError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}
