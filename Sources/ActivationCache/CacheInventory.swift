import Models
import TextData

/// Which samples lie in which cache files, and which ranks can read these: known to every rank.
///
/// Ranks that share a directory see the same files; each file counts once.
package struct CacheInventory {
    /// A file, as all ranks know it.
    package struct File {
        fileprivate let identifier: String
        package let shape: CacheShape
        /// The ranks that see it, with its position in each one's own list.
        package fileprivate(set) var readers: [(rank: Int, position: Int)]
        fileprivate let samples: [Split: Set<Int>]

        package func contains(_ split: Split, _ sample: Int) -> Bool {
            samples[split]?.contains(sample) ?? false
        }

        /// Its position in a rank's own list; nil when the rank does not see it.
        package func position(on rank: Int) -> Int? { readers.first { $0.rank == rank }?.position }
    }

    package let files: [File]
    /// All layers that a sample needs.
    private let complete: CacheShape
    /// The files that hold some layers of a sample.
    private var places: [Split: [Int: [Int]]] = [:]

    /// Counts each file once, whoever sees it.
    ///
    /// - Parameters: `announcements` are the files that each rank sees, by rank, as these stand in its own list; `complete`
    ///   has all layers that a sample needs.
    package init(_ announcements: [[Announcement]], complete: CacheShape) {
        self.complete = complete
        var files: [File] = []
        var known: [String: Int] = [:]
        for (rank, own) in announcements.enumerated() {
            for (position, announcement) in own.enumerated() {
                if let index = known[announcement.identifier] {
                    files[index].readers.append((rank, position))
                    continue
                }
                known[announcement.identifier] = files.count
                files.append(
                    File(
                        identifier: announcement.identifier, shape: announcement.shape,
                        readers: [(rank, position)], samples: announcement.samples))
            }
        }
        self.files = files
        for (index, file) in files.enumerated() {
            for (split, samples) in file.samples {
                for sample in samples { places[split, default: [:]][sample, default: []].append(index) }
            }
        }
    }

    // MARK: Questions

    /// The files that together hold all layers of a sample, of each stack as few as can be; nil when some layer is missing.
    /// One file with all layers comes before several.
    ///
    /// - Parameter owner: a rank whose own files come before others that reach as far.
    package func pieces(_ split: Split, _ sample: Int, for owner: Int) -> [Int]? {
        guard let candidates = places[split]?[sample] else { return nil }
        let sorted = candidates.sorted {
            (files[$0].position(on: owner) == nil ? 1 : 0, $0) < (
                files[$1].position(on: owner) == nil ? 1 : 0, $1
            )
        }
        if let whole = sorted.first(where: { files[$0].shape == complete }) { return [whole] }
        var chosen: [Int] = []
        for stack in complete.stacks {
            var next = stack.layers.lowerBound
            while next < stack.layers.upperBound {
                // Of the files that hold the next layer, the one that reaches farthest.
                let reaching = sorted.compactMap { index -> (file: Int, end: Int)? in
                    let layers = files[index].shape.stacks.first { $0.stack == stack.stack }?.layers
                    return layers.flatMap { $0.contains(next) ? (index, $0.upperBound) : nil }
                }
                guard let end = reaching.map(\.end).max() else { return nil }
                let best = reaching.first { $0.end == end }!
                if !chosen.contains(best.file) { chosen.append(best.file) }
                next = best.end
            }
        }
        return chosen
    }

    /// The rank that reads a file for another: that one itself where it sees the file.
    package func reader(of file: Int, for rank: Int) -> Int {
        files[file].position(on: rank) == nil ? files[file].readers[0].rank : rank
    }

    /// Whether a rank is the one that removes a file of its own list.
    package func isCustodian(_ rank: Int, of identifier: String) -> Bool {
        files.contains { $0.identifier == identifier && $0.readers[0].rank == rank }
    }

    /// Those of some samples that are not there with all their layers.
    package func missing(_ split: Split, of samples: some Sequence<Int>) -> [Int] {
        samples.filter { pieces(split, $0, for: 0) == nil }
    }

    /// Whether a rank can read all layers of some samples from its own files.
    ///
    /// - Parameter fromOne: from a single one of them.
    package func isPlaced(_ split: Split, _ samples: [Int], on rank: Int, fromOne: Bool) -> Bool {
        guard !samples.isEmpty else { return true }
        let own = files.filter { $0.position(on: rank) != nil && $0.shape == complete }
        return fromOne
            ? own.contains { file in samples.allSatisfy { file.contains(split, $0) } }
            : samples.allSatisfy { sample in own.contains { $0.contains(split, sample) } }
    }
}
