import Foundation

/// How a launched program ended.
struct Outcome {
    var status: Int32
    var output: String
    var errors: String

    /// How many lines of the output are this one.
    func count(of line: String) -> Int { output.split(separator: "\n").filter { $0 == line }.count }
}

/// The executable of the ranks, built beside the test bundle.
let spmdChecks = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    .appendingPathComponent("spmd-checks").path

/// Runs checks on some ranks under `mpirun`, which says nothing of its own.
func mpirun(ranks: Int, _ checks: [String], seconds: Double = 120) throws -> Outcome {
    let arguments =
        [
            "mpirun", "-np", "\(ranks)", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-q",
            spmdChecks,
        ]
        + checks
    return try launch("/usr/bin/env", arguments, seconds: seconds)
}

/// Runs a program to its end, or kills it after a time limit and throws.
func launch(_ path: String, _ arguments: [String], seconds: Double) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    // A test that runs under mpirun itself must not pass its place in that job on.
    process.environment = ProcessInfo.processInfo.environment.filter {
        !$0.key.hasPrefix("OMPI_") && !$0.key.hasPrefix("PMIX_")
    }
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
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
    return Outcome(status: process.terminationStatus, output: texts[0], errors: texts[1])
}

struct LaunchError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
