import MPI
import Support

/// The directory of a run. An existing one is never overwritten unless asked: a new run takes the next free suffix.
public struct RunDirectory: Sendable {
    public let path: String
    /// Where this run's cache files lie.
    public let cachePath: String
    /// Whether another name had to be taken.
    public let isRenamed: Bool
    /// Whether this run made it.
    private let isNew: Bool

    /// Chooses and makes the directory; the same path on every rank. Collective over the world.
    ///
    /// - Throws: when it cannot be made or written to, on every rank the same.
    static func make(_ experiment: Experiment, overwrite: Bool, world: borrowing Communicator) throws
        -> RunDirectory
    {
        let wanted = experiment.outputDirectory
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
        let isNew = try world.fromRoot { [fileExists(path) ? 0 : 1] } == [1]
        // Its own directory under a shared one, so that two runs never mix their files.
        let name = path.split(separator: "/").last.map(String.init) ?? "run"
        let cachePath = experiment.cache.directory.map { "\($0)/\(name)" } ?? path + "/cache"
        try world.agree {
            try makeDirectory(path)
            if experiment.cache.isEnabled { try makeDirectory(cachePath) }
        }
        let directory = RunDirectory(path: path, cachePath: cachePath, isRenamed: path != wanted, isNew: isNew)
        if world.rank == 0, overwrite {
            for name in ["metrics.jsonl", "profile.json"] { try removeFile(path + "/" + name) }
        }
        try world.agree {
            if world.rank == 0 {
                try writeFileAtomically(
                    experiment.json.text(indented: true) + "\n", to: path + "/experiment.json")
            }
        }
        return directory
    }

    /// Takes back what `make` has made, for a run that could not begin. Not collective; on rank 0.
    func discard() throws {
        guard isNew else { return }
        try removeFile(path + "/experiment.json")
        removeDirectoryIfEmpty(cachePath)
        removeDirectoryIfEmpty(path)
    }

    /// A rank's cache file.
    func cacheFile(rank: Int) -> String {
        let number = String(rank)
        return cachePath + "/rank-" + String(repeating: "0", count: max(0, 4 - number.count)) + number + ".h5"
    }
}
