import MPI
import Reporting
import Support

/// The directory of a run. An existing one is never overwritten unless asked: a new run takes the next free suffix.
public struct RunDirectory: Sendable {
    public let path: String
    /// Where this run's cache files lie.
    public let cachePath: String
    /// Whether another name had to be taken.
    public let isRenamed: Bool

    /// How a run begins.
    public enum Start: Sendable {
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
        cachePath =
            experiment.cache.directory.map { "\(Self.trimmed($0))/\(name)" } ?? path + "/" + Self.cacheFolder
        self.isRenamed = isRenamed
    }

    /// The directory of an earlier run.
    ///
    /// - Parameter path: where it is; nil for the experiment's own directory.
    init(of experiment: Experiment, at path: String?) {
        self.init(experiment, path: Self.trimmed(path ?? experiment.output.directory), isRenamed: false)
    }

    private var hasCheckpointsOrCache: Bool { fileExists(checkpointPath) || fileExists(cachePath) }

    /// Makes the directory and writes the resolved experiment. Collective over the world.
    ///
    /// - Throws: when it cannot be made or written to, on every rank the same.
    func make(_ experiment: Experiment, _ start: Start, world: borrowing Communicator) throws {
        try world.agree {
            try makeDirectory(path)
            guard start == .overwrite else { return }
            for name in try directoryContents(checkpointPath) { try removeFile(checkpointPath + "/" + name) }
            try removeCache()
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

    public var metricsPath: String { RunFile.metrics.path(in: path) }
    public var planPath: String { RunFile.plan.path(in: path) }
    var profilePath: String { RunFile.profile.path(in: path) }
    public var tracePath: String { RunFile.trace.path(in: path) }
    public var adapterPath: String { path + "/" + Self.adapterFolder }
    var checkpointPath: String { path + "/" + Self.checkpointFolder }

    private static let adapterFolder = "adapter"
    private static let cacheFolder = "cache"
    private static let checkpointFolder = "checkpoints"

    /// Every kind of file that a run may leave, by its path in the run directory; rank 0's stand for those of all ranks.
    package static var fileKinds: [String] {
        RunFile.allCases.map(\.rawValue)
            + AdapterDirectory.files.map { "\(adapterFolder)/\($0)" }
            + ["\(cacheFolder)/\(cacheFileName(rank: 0))"]
            + cacheTensorNames.map { "\(cacheFolder)/\($0).safetensors" }
            + ["\(checkpointFolder)/\(checkpointName(rank: 0))"]
    }

    /// A rank's checkpoint.
    func checkpoint(rank: Int) -> String { "\(checkpointPath)/\(Self.checkpointName(rank: rank))" }

    private static func checkpointName(rank: Int) -> String { "rank-\(fourDigits(rank)).safetensors" }

    /// Makes the directory of the cache, for its owner alone.
    func makeCacheDirectory() throws {
        guard !fileExists(cachePath) else { return }
        try makeDirectory(cachePath)
        try restrictToOwner(cachePath)
    }

    func removeCacheDirectoryIfEmpty() { removeDirectoryIfEmpty(cachePath) }

    /// Removes all cache files that exist, of any rank.
    func removeCache() throws {
        for path in try cacheFiles() + Self.cacheTensorNames.map(cacheTensors) { try removeFile(path) }
        removeCacheDirectoryIfEmpty()
    }

    /// A rank's cache file, once it is complete.
    func cacheFile(rank: Int) -> String { "\(cachePath)/\(Self.cacheFileName(rank: rank))" }

    private static func cacheFileName(rank: Int) -> String { "rank-\(fourDigits(rank)).h5" }

    /// An unused name for a cache file that is not complete yet.
    func freeCachePart(rank: Int) -> String {
        let path = cacheFile(rank: rank)
        var part = path + ".part"
        var number = 2
        while fileExists(part) {
            part = "\(path).\(number).part"
            number += 1
        }
        return part
    }

    /// All cache files that exist, of any rank, complete or not.
    func cacheFiles() throws -> [String] {
        try directoryContents(cachePath).filter {
            $0.hasPrefix("rank-") && ($0.hasSuffix(".h5") || $0.contains(".h5.") && $0.hasSuffix(".part"))
        }.map { "\(cachePath)/\($0)" }
    }

    /// What is kept beside the activations: the frozen tensors of the head, the side network before training, and a
    /// classifier that was saved with the model.
    static let cacheTensorNames = ["frozen", "side-initial", "classifier"]

    /// The file of tensors that later runs need besides the activations.
    func cacheTensors(_ name: String) -> String { "\(cachePath)/\(name).safetensors" }

    private static func fourDigits(_ rank: Int) -> String {
        let number = String(rank)
        return String(repeating: "0", count: max(0, 4 - number.count)) + number
    }
}
