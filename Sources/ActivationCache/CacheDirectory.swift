import Support

/// The directory of a run's cache files, on this rank's disk.
package struct CacheDirectory: Sendable, Equatable {
    package let path: String

    package init(_ path: String) { self.path = path }

    /// Makes it, for its owner alone: activations reveal the text that they came from.
    package func make() throws {
        guard !fileExists(path) else { return }
        try makeDirectory(path)
        try restrictToOwner(path)
    }

    func removeIfEmpty() { removeDirectoryIfEmpty(path) }

    /// Removes all cache files that exist, of any rank.
    package func removeFiles() throws {
        for file in try files() + Self.tensorNames.map(tensors) { try removeFile(file) }
        removeIfEmpty()
    }

    /// A rank's file, once it is complete.
    package func file(rank: Int) -> String { "\(path)/\(Self.name(ofRank: rank)).h5" }

    /// Every kind of file that may be here; rank 0's stands for those of all ranks.
    package static var fileKinds: [String] {
        ["\(name(ofRank: 0)).h5"] + tensorNames.map { "\($0).safetensors" }
    }

    /// An unused name for a cache file that is not complete yet.
    func freePart(rank: Int) -> String {
        let path = file(rank: rank)
        var part = path + ".part"
        var number = 2
        while fileExists(part) {
            part = "\(path).\(number).part"
            number += 1
        }
        return part
    }

    /// All cache files that exist, of any rank, complete or not.
    package func files() throws -> [String] {
        try directoryContents(path).filter {
            $0.hasPrefix("rank-") && ($0.hasSuffix(".h5") || $0.contains(".h5.") && $0.hasSuffix(".part"))
        }.map { "\(path)/\($0)" }
    }

    /// What is kept beside the activations: the frozen tensors of the head, the side network before training, and a
    /// classifier that was saved with the model.
    static let tensorNames = ["frozen", "side-initial", "classifier"]

    /// The file of tensors that later runs need besides the activations.
    package func tensors(_ name: String) -> String { "\(path)/\(name).safetensors" }

    /// How a file of one rank is called: "rank-0003".
    package static func name(ofRank rank: Int) -> String {
        let number = String(rank)
        return "rank-" + String(repeating: "0", count: max(0, 4 - number.count)) + number
    }
}
