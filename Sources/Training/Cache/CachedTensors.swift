import MPI
import Models
import Support
import TensorCore

/// What a kept cache holds besides the activations, so that `replay` never opens the model's weights: the frozen tensors of
/// the head (`frozen`), the side network before training (`side-initial`), and a classifier that was saved with the model
/// (`classifier`).
struct CachedTensors {
    typealias Tensors = [(name: String, shape: [Int], values: [Float])]

    let modelHash: String
    /// The residual channels that the side network kept; empty where it was drawn.
    let residual: [Int]
    let reductionFactor: Int
    let frozen: Tensors
    let sideInitial: Tensors
    let classifier: Tensors
    /// Where they lie, for messages.
    var place = ""

    private var files: [(name: String, tensors: Tensors)] {
        [("frozen", frozen), ("side-initial", sideInitial), ("classifier", classifier)]
    }

    // MARK: Files

    /// Writes the files into the directory of a cache; those without tensors are left out.
    func write(to directory: RunDirectory) throws {
        for (name, tensors) in files where !tensors.isEmpty || name != "classifier" {
            try writeSafetensors(tensors, metadata: metadata, to: directory.cacheTensors(name))
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
    static func gather(_ directory: RunDirectory, _ world: borrowing Communicator) throws -> CachedTensors {
        let hasThem = fileExists(directory.cacheTensors("side-initial"))
        let holder = -Int(try world.allReduceMax(Int64(hasThem ? -world.rank : -world.size)))
        guard holder < world.size else {
            throw Failure.configuration(
                "\(directory.cachePath): expected a kept cache, found none on any rank: train with cache.keep=true first"
            ).shared
        }
        let bytes = try world.fromRoot(root: holder) { try read(directory).serialized() }
        return try CachedTensors(serialized: bytes, place: directory.cachePath)
    }

    private static func read(_ directory: RunDirectory) throws -> CachedTensors {
        func tensors(_ name: String) throws -> (Tensors, SafetensorsFile) {
            let file = try SafetensorsFile(directory.cacheTensors(name))
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
            sideInitial: side,
            classifier: fileExists(directory.cacheTensors("classifier")) ? try tensors("classifier").0 : [])
    }

    // MARK: On the way

    private func serialized() -> [UInt8] {
        let header = JSONValue.dictionary(
            metadata.map { ($0.0, .string($0.1)) } + [
                (
                    "files",
                    .array(
                        files.map { file in
                            .array(
                                file.tensors.map { tensor in
                                    .array([.string(tensor.name)] + tensor.shape.map { JSONValue($0) })
                                })
                        })
                )
            ])
        let text = Array(header.text().utf8)
        var bytes = withUnsafeBytes(of: Int64(text.count).littleEndian, Array.init) + text
        for tensor in files.flatMap(\.tensors) {
            tensor.values.withUnsafeBytes { bytes.append(contentsOf: $0) }
        }
        return bytes
    }

    private init(serialized bytes: [UInt8], place: String) throws {
        let count = bytes.withUnsafeBytes { Int($0.loadUnaligned(as: Int64.self)) }
        let header = try JSONReader(
            JSONValue(parsing: Array(bytes[8..<8 + count]), file: place), file: place
        ).object()
        var start = 8 + count
        let parts = try header.required("files").array().map { file in
            try file.array().map { entry -> (name: String, shape: [Int], values: [Float]) in
                let fields = try entry.array()
                let shape = try fields[1...].map { try $0.integer() }
                let size = shape.reduce(1, *)
                defer { start += size * 4 }
                let values = bytes.withUnsafeBytes { raw in
                    (0..<size).map { raw.loadUnaligned(fromByteOffset: start + $0 * 4, as: Float.self) }
                }
                return (try fields[0].string(), shape, values)
            }
        }
        modelHash = try header.required("model_hash").string()
        residual = try header.required("residual").string().split(separator: " ").compactMap { Int($0) }
        reductionFactor = Int(try header.required("reduction_factor").string()) ?? 0
        (frozen, sideInitial, classifier) = (parts[0], parts[1], parts[2])
        self.place = place
    }

    init(
        modelHash: String, residual: [Int], reductionFactor: Int, frozen: Tensors, sideInitial: Tensors,
        classifier: Tensors
    ) {
        self.modelHash = modelHash
        self.residual = residual
        self.reductionFactor = reductionFactor
        self.frozen = frozen
        self.sideInitial = sideInitial
        self.classifier = classifier
    }

    // MARK: Use

    /// The frozen tensors of the head.
    func frozenSource(_ ledger: Ledger) -> any ParameterSource { FrozenSource(tensors: self, ledger: ledger) }

    private struct FrozenSource: ParameterSource {
        let tensors: CachedTensors
        let ledger: Ledger

        func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
            guard let stored = tensors.frozen.first(where: { $0.name == name }), stored.shape == shape else {
                throw Failure.configuration(
                    "\(tensors.place)/frozen.safetensors: expected a tensor \"\(name)\" of shape \(shape), found none"
                )
            }
            let tensor = Tensor(
                rows: shape.count > 1 ? shape[0] : 1,
                columns: stored.values.count / max(1, shape.count > 1 ? shape[0] : 1),
                category: .weights, ledger: ledger)
            stored.values.withUnsafeBufferPointer { values in
                if let base = values.baseAddress { tensor.pointer.update(from: base, count: values.count) }
            }
            return tensor
        }
    }

    /// A classifier's start that was saved with the model; nil when it had none of this shape.
    func classifierValues(_ name: String, _ shape: [Int]) -> [Float]? {
        classifier.first { $0.name == name && $0.shape == shape }?.values
    }

    /// The side network's start.
    ///
    /// - Throws: where it was pruned for another reduction factor, or drawn.
    func sideValues(_ technique: ParallelAdapters) throws -> [String: [Float]] {
        guard !residual.isEmpty, technique.reductionFactor == reductionFactor else {
            throw Failure.configuration(
                "technique.reduction_factor: expected \(reductionFactor), for which \(place) has the pruned side network, "
                    + "or technique.initialization \"random\", found \(technique.reductionFactor)")
        }
        return Dictionary(uniqueKeysWithValues: sideInitial.map { ($0.name, $0.values) })
    }
}
