import Support
import TensorCore

/// A Hugging Face model directory: `config.json` and the weights in one or several safetensors files.
public final class Checkpoint {
    public let directory: String
    /// The parsed `config.json`.
    public let configuration: JSONReader
    private let files: [any WeightsReader]
    private let fileOfTensor: [String: Int]

    /// Maps the weights. Throws when a file is missing or damaged, naming it.
    public init(_ directory: String) throws {
        self.directory = directory
        configuration = try Self.readConfiguration(directory)
        let (single, index) = (Self.singleFile(directory), Self.indexFile(directory))
        if fileExists(single) || !fileExists(index) {
            files = [try SafetensorsFile(single)]
            fileOfTensor = Self.places(files)
            return
        }
        let map = try JSONReader(contentsOf: index).object().required("weight_map")
            .object()
        var names: [String] = []
        var files: [SafetensorsFile] = []
        var places: [String: Int] = [:]
        for (tensor, value) in map.all {
            let name = try value.string()
            if !names.contains(name) {
                names.append(name)
                files.append(try SafetensorsFile(directory + "/" + name))
            }
            let position = names.firstIndex(of: name)!
            guard files[position].entries[tensor] != nil else {
                throw Failure.configuration(
                    "\(value.place): the tensor \"\(tensor)\" is missing from \(files[position].path)")
            }
            places[tensor] = position
        }
        self.files = files
        fileOfTensor = places
    }

    /// Takes weights that are open already, for a configuration.
    ///
    /// - Parameter directory: names the model in messages.
    package init(directory: String, configuration: JSONReader, files: [any WeightsReader]) {
        self.directory = directory
        self.configuration = configuration
        self.files = files
        fileOfTensor = Self.places(files)
    }

    /// Which of the files holds each tensor, the first that does.
    private static func places(_ files: [any WeightsReader]) -> [String: Int] {
        files.enumerated().reduce(into: [:]) { places, file in
            for name in file.element.names where places[name] == nil { places[name] = file.offset }
        }
    }

    private static func singleFile(_ directory: String) -> String { directory + "/model.safetensors" }
    private static func indexFile(_ directory: String) -> String {
        directory + "/model.safetensors.index.json"
    }

    /// Whether a directory has weights, so that more than its configuration can be told.
    package static func hasWeights(_ directory: String) -> Bool {
        fileExists(singleFile(directory)) || fileExists(indexFile(directory))
    }

    /// Reads only `config.json`, for a model that is drawn from a seed.
    public static func readConfiguration(_ directory: String) throws -> JSONReader {
        let path = directory + "/config.json"
        return try JSONReader(contentsOf: path)
    }

    public func contains(_ name: String) -> Bool { fileOfTensor[name] != nil }

    /// The shape of a stored tensor.
    public func shape(of name: String) -> [Int]? {
        fileOfTensor[name].flatMap { files[$0].shape(of: name) }
    }

    /// How a stored matrix is given; nil when it is not there.
    package func format(of name: String) -> WeightFormat? {
        fileOfTensor[name].flatMap { files[$0].format(of: name) }
    }

    /// A stored tensor as float32.
    public func tensor(_ name: String, ledger: Ledger) throws -> Tensor {
        try file(of: name).tensor(name, ledger: ledger)
    }

    /// A matrix as it is stored.
    package func weight(_ name: String, ledger: Ledger) throws -> Weight {
        try file(of: name).weight(name, ledger: ledger)
    }

    private func file(of name: String) throws -> any WeightsReader {
        guard let file = fileOfTensor[name] else {
            throw Failure.configuration("\(directory): the tensor \"\(name)\" is missing from the checkpoint")
        }
        return files[file]
    }

    /// The file that holds a tensor, for errors.
    public func path(of name: String) -> String { fileOfTensor[name].map { files[$0].path } ?? directory }

    /// Identifies the weights: changes when any tensor does.
    public var fingerprint: String { files.map(\.fingerprint).joined(separator: "+") }
}

/// Gives a module the frozen tensors of a checkpoint, under any of the names that published files use.
public struct CheckpointSource: ParameterSource {
    private let checkpoint: Checkpoint
    private let family: any ModelFamily
    private let ledger: Ledger

    public init(_ checkpoint: Checkpoint, family: any ModelFamily, ledger: Ledger) {
        self.checkpoint = checkpoint
        self.family = family
        self.ledger = ledger
    }

    public func parameter(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Tensor {
        if let stored = try check(name, shape) { return try checkpoint.tensor(stored, ledger: ledger) }
        return zeros(shape)
    }

    public func weight(_ name: String, _ shape: [Int], sharingGroup: String?) throws -> Weight {
        if let stored = try check(name, shape) { return try checkpoint.weight(stored, ledger: ledger) }
        return .float32(zeros(shape))
    }

    private func zeros(_ shape: [Int]) -> Tensor {
        let zeros = Tensor(rows: 1, columns: shape.reduce(1, *), category: .weights, ledger: ledger)
        zeros.fill(0)
        return zeros
    }

    /// Checks that a tensor is there with its shape, without reading it.
    ///
    /// - Returns: the name under which it is stored; nil for a tensor that is zero when it is absent.
    @discardableResult
    public func check(_ name: String, _ shape: [Int]) throws -> String? {
        guard let stored = storedName(of: name) else {
            if family.zeroWhenAbsent.contains(name) { return nil }
            throw Failure.configuration(
                "\(checkpoint.directory): the tensor \"\(name)\" is missing from the checkpoint")
        }
        let found = checkpoint.shape(of: stored)!
        guard found == shape else {
            throw Failure.configuration(
                "\(checkpoint.path(of: stored)): tensor \"\(stored)\": expected shape \(shape) from "
                    + "\(checkpoint.configuration.file), found \(found)")
        }
        return stored
    }

    /// The name under which the checkpoint holds a tensor; nil when it does not.
    public func storedName(of name: String) -> String? {
        Self.variants(of: name, family).first { checkpoint.contains($0) }
    }

    /// A name, its tied and obsolete spellings, each with and without the model's prefix.
    private static func variants(of name: String, _ family: any ModelFamily) -> [String] {
        var names = [name] + family.tiedNames(of: name)
        names += names.compactMap { variant in
            variant.hasSuffix("LayerNorm.weight")
                ? variant.dropLast(6) + "gamma"
                : variant.hasSuffix("LayerNorm.bias") ? variant.dropLast(4) + "beta" : nil
        }
        if let prefix = family.optionalPrefix {
            names += names.compactMap { $0.hasPrefix(prefix) ? String($0.dropFirst(prefix.count)) : nil }
        }
        return names
    }
}
