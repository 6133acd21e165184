import MPI
import Models
import Support
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

    /// Tells all ranks what each has. Collective over the world.
    ///
    /// - Parameters: `own` are the files that this rank sees; `complete` has all layers that a sample needs; `expected` are
    ///   the samples that the last of the files will have.
    init(
        _ own: [ActivationCacheFile], complete: CacheShape, world: borrowing Communicator,
        expected: [Split: [Int]] = [:]
    ) throws {
        self.complete = complete
        let announcement = JSONValue.array(
            own.enumerated().map { index, file in
                Self.describe(file, expected: index == own.count - 1 ? expected : [:])
            })
        var files: [File] = []
        var known: [String: Int] = [:]
        for (rank, reader) in try world.allGatherJSON(announcement, "files").enumerated() {
            for (position, description) in try reader.array().enumerated() {
                let identifier = try description.object().required("id").string()
                if let index = known[identifier] {
                    files[index].readers.append((rank, position))
                    continue
                }
                known[identifier] = files.count
                files.append(try Self.read(description, identifier, reader: (rank, position)))
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

    /// The files that together hold all layers of a sample, as few as can be; nil when some layer is missing.
    ///
    /// - Parameter owner: a rank whose own files come first.
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
    func isCustodian(_ rank: Int, of file: ActivationCacheFile) -> Bool {
        files.contains { $0.identifier == file.identifier && $0.readers[0].rank == rank }
    }

    /// Those of some samples that are not there with all their layers.
    package func missing(_ split: Split, of samples: some Sequence<Int>) -> [Int] {
        samples.filter { pieces(split, $0, for: 0) == nil }
    }

    /// Whether a rank can read all layers of some samples from its own files.
    ///
    /// - Parameter fromOne: from a single one of them.
    func isPlaced(_ split: Split, _ samples: [Int], on rank: Int, fromOne: Bool) -> Bool {
        guard !samples.isEmpty else { return true }
        let own = files.filter { $0.position(on: rank) != nil && $0.shape == complete }
        return fromOne
            ? own.contains { file in samples.allSatisfy { file.contains(split, $0) } }
            : samples.allSatisfy { sample in own.contains { $0.contains(split, sample) } }
    }

    // MARK: On the way

    private static func describe(_ file: ActivationCacheFile, expected: [Split: [Int]]) -> JSONValue {
        .dictionary([
            ("id", .string(file.identifier)), ("hidden", JSONValue(file.shape.hiddenSize)),
            (
                "stacks",
                .array(
                    file.shape.stacks.map {
                        [
                            .string($0.stack.rawValue), JSONValue($0.layers.lowerBound),
                            JSONValue($0.layers.upperBound),
                        ]
                    })
            ),
            (
                "samples",
                .dictionary(
                    Split.allCases.map { split in
                        (
                            split.rawValue,
                            .array((file.samples(split) + (expected[split] ?? [])).map { JSONValue($0) })
                        )
                    })
            ),
        ])
    }

    private static func read(
        _ description: JSONReader, _ identifier: String, reader: (rank: Int, position: Int)
    ) throws -> File {
        let object = try description.object()
        let stacks = try object.required("stacks").array().map { stack in
            let parts = try stack.array()
            let kind = StackKind(rawValue: try parts[0].choice(StackKind.allCases.map(\.rawValue)))!
            return CacheShape.StackLayers(stack: kind, layers: try parts[1].integer()..<parts[2].integer())
        }
        let lists = try object.required("samples").object()
        var samples: [Split: Set<Int>] = [:]
        for split in Split.allCases {
            samples[split] = Set(try lists.required(split.rawValue).array().map { try $0.integer() })
        }
        return File(
            identifier: identifier,
            shape: CacheShape(stacks: stacks, hiddenSize: try object.required("hidden").integer()),
            readers: [reader], samples: samples)
    }
}
