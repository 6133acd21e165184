/// The files at the top of a run directory. `RunDirectory` knows those in its folders.
package enum RunFile: String, CaseIterable, Sendable {
    case experiment = "experiment.json"
    case profile = "profile.json"
    case plan = "plan.json"
    case metrics = "metrics.jsonl"
    case trace = "trace.json"
    case report = "report.html"

    /// The file's path in a run directory.
    package func path(in directory: String) -> String { directory + "/" + rawValue }
}
