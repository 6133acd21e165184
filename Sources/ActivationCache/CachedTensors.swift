import MPI
import Models
import Support
import TensorCore
import WeightFiles

/// What a kept cache holds besides the activations, so that `replay` never opens the model's weights: the frozen tensors of
/// the head (`frozen`), the side network before training (`side-initial`), and a classifier that was saved with the model
/// (`classifier`).
package struct CachedTensors {
    package typealias Tensors = [(name: String, shape: [Int], values: [Float])]

    package let modelHash: String
    /// The residual channels that the side network kept; empty where it was drawn.
    package let residual: [Int]
    package let reductionFactor: Int
    package let frozen: Tensors
    package let sideInitial: Tensors
    /// What the parts of the side network weigh (`ranking.…`, their numbers, the weightiest first; of the residual channels the
    /// model's numbers), so that it can be pruned further; in one file with `sideInitial`.
    package let rankings: Tensors
    package let classifier: Tensors
    /// Where they lie, for messages.
    package var place = ""

    private var files: [(name: String, tensors: Tensors)] {
        [("frozen", frozen), ("side-initial", sideInitial + rankings), ("classifier", classifier)]
    }

    // MARK: Files

    /// Writes the files into the directory of a cache; those without tensors are left out.
    package func write(to directory: CacheDirectory) throws {
        for (name, tensors) in files where !tensors.isEmpty || name != "classifier" {
            try writeSafetensors(tensors, metadata: metadata, to: directory.tensors(name))
        }
    }

    private var metadata: [(String, String)] {
        [
            ("model_hash", modelHash), ("residual", residual.map(String.init).joined(separator: " ")),
            ("reduction_factor", "\(reductionFactor)"),
        ]
    }

    /// Reads the files, on the lowest rank that has them, and shows them to all. Collective over the world.
    ///
    /// - Throws: on all ranks, when none has them.
    package static func gather(_ directory: CacheDirectory, _ world: borrowing Communicator) throws
        -> CachedTensors
    {
        let hasThem = fileExists(directory.tensors("side-initial"))
        let holder = -Int(try world.allReduceMax(Int64(hasThem ? -world.rank : -world.size)))
        guard holder < world.size else {
            throw Failure.configuration(
                "\(directory.path): expected a kept cache, found none on any rank: train with cache.keep=true first"
            ).shared
        }
        let bytes = try world.fromRoot(root: holder) { try read(directory).serialized() }
        return try CachedTensors(serialized: bytes, place: directory.path)
    }

    private static func read(_ directory: CacheDirectory) throws -> CachedTensors {
        func tensors(_ name: String) throws -> (Tensors, SafetensorsFile) {
            let file = try SafetensorsFile(directory.tensors(name))
            return (
                try file.entries.keys.sorted().map { ($0, file.entries[$0]!.shape, try file.floats($0)) },
                file
            )
        }
        let (side, file) = try tensors("side-initial")
        guard let hash = file.metadata["model_hash"],
            let factor = file.metadata["reduction_factor"].flatMap({ Int($0) })
        else {
            throw Failure.configuration(
                "\(file.path): expected metadata model_hash and reduction_factor, found none")
        }
        let residual = (file.metadata["residual"] ?? "").split(separator: " ").compactMap { Int($0) }
        return CachedTensors(
            modelHash: hash, residual: residual, reductionFactor: factor, frozen: try tensors("frozen").0,
            sideInitial: side.filter { !$0.name.hasPrefix(Self.rankingPrefix) },
            rankings: side.filter { $0.name.hasPrefix(Self.rankingPrefix) },
            classifier: fileExists(directory.tensors("classifier")) ? try tensors("classifier").0 : [])
    }

    // MARK: On the way

    private func serialized() -> [UInt8] {
        var writer = ByteWriter()
        writer.write(modelHash)
        writer.write(residual)
        writer.write(reductionFactor)
        for tensors in [frozen, sideInitial, rankings, classifier] {
            writer.write(tensors.count)
            for tensor in tensors {
                writer.write(tensor.name)
                writer.write(tensor.shape)
                writer.write(tensor.values)
            }
        }
        return writer.bytes
    }

    private init(serialized bytes: [UInt8], place: String) throws {
        var reader = ByteReader(bytes, "what \(place) holds of the model")
        func tensors() throws -> Tensors {
            try (0..<reader.count()).map { _ in (try reader.text(), try reader.list(), try reader.floats()) }
        }
        modelHash = try reader.text()
        residual = try reader.list()
        reductionFactor = try reader.integer()
        frozen = try tensors()
        sideInitial = try tensors()
        rankings = try tensors()
        classifier = try tensors()
        try reader.requireEnd()
        self.place = place
    }

    package init(
        modelHash: String, residual: [Int], reductionFactor: Int, frozen: Tensors, sideInitial: Tensors,
        rankings: Tensors, classifier: Tensors
    ) {
        self.modelHash = modelHash
        self.residual = residual
        self.reductionFactor = reductionFactor
        self.frozen = frozen
        self.sideInitial = sideInitial
        self.rankings = rankings
        self.classifier = classifier
    }

    // MARK: Use

    /// The frozen tensors of the head.
    package func frozenSource(_ ledger: Ledger) -> any ParameterSource {
        StoredSource(tensors: frozen, prefix: "", place: place + "/frozen.safetensors", ledger: ledger)
    }

    /// A classifier's start that was saved with the model; nil when it had none of this shape.
    package func classifierValues(_ name: String, _ shape: [Int]) -> [Float]? {
        classifier.first { $0.name == name && $0.shape == shape }?.values
    }

    private struct StoredSource: Float32Source {
        let tensors: Tensors
        let prefix: String
        let place: String
        let ledger: Ledger

        func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
            guard let stored = tensors.first(where: { $0.name == prefix + name }), stored.shape == shape
            else {
                throw Failure.configuration(
                    "\(place): expected a tensor \"\(prefix + name)\" of shape \(shape), found none")
            }
            let rows = shape.count > 1 ? shape[0] : 1
            let tensor = Tensor(
                rows: rows, columns: stored.values.count / max(1, rows), category: .weights, ledger: ledger)
            stored.values.withUnsafeBufferPointer { values in
                if let base = values.baseAddress { tensor.pointer.update(from: base, count: values.count) }
            }
            return tensor
        }
    }
}

// MARK: Pruning further

extension CachedTensors {
    fileprivate static let rankingPrefix = "ranking."

    /// What a side network's parts weigh, as tensors of whole numbers.
    package static func rankings(residual: [Int], _ blocks: [(prefix: String, ranking: BlockRanking)])
        -> Tensors
    {
        func tensor(_ name: String, _ lists: [[Int]]) -> (name: String, shape: [Int], values: [Float]) {
            (
                rankingPrefix + name, [lists.count, lists.first?.count ?? 0],
                lists.flatMap { $0.map(Float.init) }
            )
        }
        return [tensor("residual", [residual])]
            + blocks.flatMap { prefix, ranking in
                ranking.attentions.enumerated().flatMap { index, attention in
                    [tensor("\(prefix)\(index).vo", attention.vo)]
                        + (attention.qk.isEmpty ? [] : [tensor("\(prefix)\(index).qk", attention.qk)])
                } + [tensor("\(prefix)feed_forward", [ranking.feedForward])]
            }
    }

    private func lists(_ name: String) -> [[Int]] {
        guard let tensor = rankings.first(where: { $0.name == Self.rankingPrefix + name }) else { return [] }
        let width = tensor.shape[1]
        return (0..<tensor.shape[0]).map { row in
            tensor.values[row * width..<(row + 1) * width].map { Int($0) }
        }
    }

    /// The side network's start: what was pruned for the run, or pruned further for a multiple of its factor.
    ///
    /// - Throws: for any other factor, or where the run drew its side network.
    package func sideInitialization(
        _ family: any ModelFamily, _ technique: ParallelAdapters, steps: [LayerStep]
    ) throws -> SideInitialization {
        guard !residual.isEmpty, technique.reductionFactor % reductionFactor == 0 else {
            let expected =
                residual.isEmpty
                ? ""
                : "\(reductionFactor) or a multiple of it, for which \(place) has the pruned side network, or "
            throw Failure.configuration(
                "technique.reduction_factor: expected \(expected)technique.initialization \"random\", found "
                    + "\(technique.reductionFactor)")
        }
        let count = try technique.sideDescription(family).hiddenSize
        let best = Array((lists("residual").first ?? []).prefix(count))
        let source = SideInitialization.Source(
            try family.reduced(by: reductionFactor),
            residual: BlockRanking.positions(best, residual).sorted(),
            StoredSource(
                tensors: sideInitial, prefix: SideNetwork.prefix, place: place + "/side-initial.safetensors",
                ledger: Ledger())
        ) { block in
            let attentions = block.attentions.enumerated().map { index, attention in
                BlockRanking.Attention(
                    kind: attention.kind, qk: lists("\(block.prefix)\(index).qk"),
                    vo: lists("\(block.prefix)\(index).vo"))
            }
            return BlockRanking(
                attentions: attentions, feedForward: lists("\(block.prefix)feed_forward").first ?? [])
        }
        return try SideInitialization(family, technique, steps: steps, residual: best.sorted(), from: source)
    }
}
