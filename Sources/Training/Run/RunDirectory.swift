import ActivationCache
import Configuration
import MPI
import Reporting
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
        /// Where the last run of this name stopped; without such a run, at the beginning.
        case resume
    }

    /// Chooses the directory of a run; the same path on every rank. Nothing is made or changed. Collective over the world.
    ///
    /// The resumed run is the last one: the highest suffix that exists on any rank.
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
            experiment.cache.directory.map { "\(Self.trimmed($0))/\(name)" } ?? path + "/" + Self.cacheFolder)
        self.isRenamed = isRenamed
    }

    /// The directory of an earlier run.
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
                // The experiment and the plan are written anew by every run.
                for file in RunFile.allCases where file != .experiment && file != .plan {
                    try removeFile(file.path(in: path))
                }
            }
            try writeFileAtomically(
                experiment.json.text(indented: true) + "\n", to: RunFile.experiment.path(in: path))
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

    package var metricsPath: String { RunFile.metrics.path(in: path) }
    package var planPath: String { RunFile.plan.path(in: path) }
    var profilePath: String { RunFile.profile.path(in: path) }
    package var tracePath: String { RunFile.trace.path(in: path) }
    package var adapterPath: String { path + "/" + Self.adapterFolder }
    var checkpointPath: String { path + "/" + Self.checkpointFolder }

    private static let adapterFolder = "adapter"
    private static let cacheFolder = "cache"
    private static let checkpointFolder = "checkpoints"

    /// Every kind of file that a run may leave, by its path in the run directory; rank 0's stand for those of all ranks.
    package static var fileKinds: [String] {
        var kinds = RunFile.allCases.map(\.rawValue)
        for file in AdapterDirectory.files { kinds.append("\(adapterFolder)/\(file)") }
        for file in CacheDirectory.fileKinds { kinds.append("\(cacheFolder)/\(file)") }
        return kinds + ["\(checkpointFolder)/\(checkpointName(rank: 0))"]
    }

    /// A rank's checkpoint.
    func checkpoint(rank: Int) -> String { "\(checkpointPath)/\(Self.checkpointName(rank: rank))" }

    private static func checkpointName(rank: Int) -> String {
        "\(CacheDirectory.name(ofRank: rank)).safetensors"
    }
}
