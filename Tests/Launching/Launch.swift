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
public func mpirun(ranks: Int, _ program: String, _ arguments: [String], seconds: Double) throws -> Outcome {
    try mpirun([(ranks, program, arguments)], seconds: seconds)
}

/// Runs several programs as one job, the ranks of the first one first.
///
/// - Parameter isTimeToKill: asked again and again; once it is true, all ranks are killed.
public func mpirun(
    _ parts: [(ranks: Int, program: String, arguments: [String])], seconds: Double,
    isTimeToKill: (() throws -> Bool)? = nil
) throws -> Outcome {
    let options = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-q"]
    let programs = parts.map { ["-np", "\($0.ranks)", $0.program] + $0.arguments }
    return try launch(
        "/usr/bin/env", options + programs.joined(separator: [":"]), seconds: seconds,
        isTimeToKill: isTimeToKill)
}

/// Runs a program to its end, or kills it after a time limit and throws.
///
/// - Parameter isTimeToKill: asked again and again; once it is true, the processes that the program started are killed.
public func launch(
    _ path: String, _ arguments: [String], seconds: Double, isTimeToKill: (() throws -> Bool)? = nil
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
    try process.run()
    let deadline = Date(timeIntervalSinceNow: seconds)
    var isKilled = false
    while process.isRunning, Date() < deadline {
        if let isTimeToKill, !isKilled, try isTimeToKill() {
            isKilled = true
            try killChildren(of: process.processIdentifier)
        }
        usleep(isTimeToKill == nil ? 10_000 : 500)
    }
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

/// Kills the processes that a process has started, so that they have no time to tidy up.
private func killChildren(of parent: Int32) throws {
    let killer = Process()
    killer.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    killer.arguments = ["pkill", "-KILL", "-P", "\(parent)"]
    try killer.run()
    killer.waitUntilExit()
}

/// Why a launch has no outcome.
public struct LaunchError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}
