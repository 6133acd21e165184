import Support
import TensorCore

/// A Hugging Face model directory: `config.json` and the weights in one or several safetensors files.
package final class Checkpoint {
    package let directory: String
    /// The parsed `config.json`.
    package let configuration: JSONReader
    private let files: [any WeightsReader]
    private let fileOfTensor: [String: Int]

    /// Maps the weights. Throws when a file is missing or damaged, naming it.
    package init(_ directory: String) throws {
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
    package static func readConfiguration(_ directory: String) throws -> JSONReader {
        let path = directory + "/config.json"
        return try JSONReader(contentsOf: path)
    }

    package func contains(_ name: String) -> Bool { fileOfTensor[name] != nil }

    /// The shape of a stored tensor.
    package func shape(of name: String) -> [Int]? {
        fileOfTensor[name].flatMap { files[$0].shape(of: name) }
    }

    /// How a stored matrix is given; nil when it is not there.
    package func format(of name: String) -> WeightFormat? {
        fileOfTensor[name].flatMap { files[$0].format(of: name) }
    }

    /// A stored tensor as float32.
    package func tensor(_ name: String, ledger: Ledger) throws -> Tensor {
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
    package func path(of name: String) -> String { fileOfTensor[name].map { files[$0].path } ?? directory }

    /// Identifies the weights: changes when any tensor does.
    package var fingerprint: String { files.map(\.fingerprint).joined(separator: "+") }
}
