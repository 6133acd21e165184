import ActivationCache
import Configuration
import MPI
import Support

/// The directory of a run. An existing one is never overwritten unless asked: a new run takes the next free suffix.
package struct RunDirectory: Sendable {
    package let path: String
    /// Where this run's cache files lie.
    package let cache: CacheDirectory
    /// Whether another name had to be taken.
    package let isRenamed: Bool

    /// How a run begins.
    package enum Start: Sendable {
        /// In a directory of its own.
        case new
        /// In place of what is there.
        case overwrite
        /// Where the last run of this name stopped; a run of which nothing is there begins anew.
        case resume
    }

    /// Chooses the directory of a run; the same path on every rank. Nothing is made or changed. Collective over the world.
    ///
    /// A run that is resumed is the last one: the highest suffix of which any rank has something.
    static func choose(_ experiment: Experiment, _ start: Start, world: borrowing Communicator) throws
        -> RunDirectory
    {
        let first = RunDirectory(experiment, number: 1)
        guard start != .overwrite else { return first }
        var number = 1
        func isTaken(_ number: Int) throws -> Bool {
            let candidate = RunDirectory(experiment, number: number)
            let isThere = fileExists(candidate.path) && world.rank == 0 || candidate.hasCheckpointsOrCache
            return try world.allReduceMax(Int64(isThere ? 1 : 0)) > 0
        }
        while try isTaken(number) { number += 1 }
        return RunDirectory(experiment, number: start == .resume ? max(1, number - 1) : number)
    }

    private init(_ experiment: Experiment, number: Int) {
        let wanted = Self.trimmed(experiment.output.directory)
        self.init(experiment, path: number == 1 ? wanted : "\(wanted)-\(number)", isRenamed: number > 1)
    }

    private init(_ experiment: Experiment, path: String, isRenamed: Bool) {
        // Its own directory under a shared one, so that two runs never mix their files.
        let name = path.split(separator: "/").last.map(String.init) ?? "run"
        self.path = path
        cache = CacheDirectory(
            experiment.cache.directory.map { "\(Self.trimmed($0))/\(name)" } ?? path + "/cache")
        self.isRenamed = isRenamed
    }

    /// The directory of a run that has been.
    ///
    /// - Parameter path: where it is; nil for the experiment's own directory.
    init(of experiment: Experiment, at path: String?) {
        self.init(experiment, path: Self.trimmed(path ?? experiment.output.directory), isRenamed: false)
    }

    private var hasCheckpointsOrCache: Bool { fileExists(checkpointPath) || fileExists(cache.path) }

    /// Makes the directory and writes the resolved experiment. Collective over the world.
    ///
    /// - Throws: when it cannot be made or written to, on every rank the same.
    func make(_ experiment: Experiment, _ start: Start, world: borrowing Communicator) throws {
        try world.agree {
            try makeDirectory(path)
            guard start == .overwrite else { return }
            for name in try directoryContents(checkpointPath) { try removeFile(checkpointPath + "/" + name) }
            try cache.removeFiles()
        }
        try world.onRoot {
            if start == .overwrite {
                for name in ["metrics.jsonl", "profile.json", "trace.json", "report.html"] {
                    try removeFile(path + "/" + name)
                }
            }
            try writeFileAtomically(
                experiment.json.text(indented: true) + "\n", to: path + "/experiment.json")
        }
    }

    /// Finds out early, and without leaving a trace, whether the directory can be made. Collective over the world.
    static func check(_ experiment: Experiment, world: borrowing Communicator) throws {
        try world.agree {
            try checkWritable(trimmed(experiment.output.directory))
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

    // MARK: What is in it

    package var metricsPath: String { path + "/metrics.jsonl" }
    package var planPath: String { path + "/plan.json" }
    var profilePath: String { path + "/profile.json" }
    package var tracePath: String { path + "/trace.json" }
    package var adapterPath: String { path + "/adapter" }
    var checkpointPath: String { path + "/checkpoints" }

    /// A rank's checkpoint.
    func checkpoint(rank: Int) -> String {
        "\(checkpointPath)/\(CacheDirectory.name(ofRank: rank)).safetensors"
    }
}
