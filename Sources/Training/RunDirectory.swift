import MPI
import Support

/// The directory of a run. An existing one is never overwritten unless asked: a new run takes the next free suffix.
public struct RunDirectory: Sendable {
    public let path: String
    /// Where this run's cache files lie.
    public let cachePath: String
    /// Whether another name had to be taken.
    public let isRenamed: Bool

    /// Chooses and makes the directory; the same path on every rank. Collective over the world.
    ///
    /// - Throws: when it cannot be made or written to, on every rank the same.
    static func make(_ experiment: Experiment, overwrite: Bool, world: borrowing Communicator) throws
        -> RunDirectory
    {
        let wanted = trimmed(experiment.outputDirectory)
        let chosen = try world.fromRoot {
            var path = wanted
            var number = 2
            while !overwrite, fileExists(path) {
                path = "\(wanted)-\(number)"
                number += 1
            }
            return Array(path.utf8)
        }
        let path = String(decoding: chosen, as: UTF8.self)
        // Its own directory under a shared one, so that two runs never mix their files.
        let name = path.split(separator: "/").last.map(String.init) ?? "run"
        let cachePath = experiment.cache.directory.map { "\($0)/\(name)" } ?? path + "/cache"
        try world.agree { try makeDirectory(path) }
        let directory = RunDirectory(path: path, cachePath: cachePath, isRenamed: path != wanted)
        try world.onRoot {
            if overwrite {
                for name in ["metrics.jsonl", "profile.json", "trace.json", "report.html"] {
                    try removeFile(path + "/" + name)
                }
            }
            try writeFileAtomically(
                experiment.json.text(indented: true) + "\n", to: path + "/experiment.json")
        }
        return directory
    }

    /// Finds out early, and without leaving a trace, whether the directory can be made. Collective over the world.
    static func check(_ experiment: Experiment, world: borrowing Communicator) throws {
        try world.agree {
            try checkWritable(trimmed(experiment.outputDirectory))
            if experiment.cache.isEnabled, let cache = experiment.cache.directory {
                try checkWritable(trimmed(cache))
            }
        }
    }

    /// A path without slashes at its end, so that a suffix makes a sibling and not a child.
    private static func trimmed(_ path: String) -> String {
        var path = path
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        return path
    }

    var tracePath: String { path + "/trace.json" }

    /// A rank's cache file.
    func cacheFile(rank: Int) -> String {
        let number = String(rank)
        return cachePath + "/rank-" + String(repeating: "0", count: max(0, 4 - number.count)) + number + ".h5"
    }
}
