import ActivationCache
import Families
import HDF5
import Models
import Reporting
import Support
import TensorCore
import TextData
import WeightFiles

/// What a file or directory of ours holds, told to a person or as JSON.
package struct Inspection {
    package let json: JSONValue
    package let text: String

    /// Looks at a cache file, a safetensors file, a checkpoint, an adapter or a run directory.
    ///
    /// - Throws: when nothing is there, or it is none of these, or it is damaged.
    package init(_ path: String) throws {
        guard fileExists(path) else { throw Failure.configuration("\(path): no such file or directory") }
        if path.hasSuffix(".h5") || path.hasSuffix(".part") {
            (json, text) = try Self.cache(path)
        } else if path.hasSuffix(".safetensors") {
            (json, text) = try Self.tensors(path)
        } else if fileExists(path + "/adapter_config.json") {
            (json, text) = try Self.adapter(path)
        } else if fileExists(path + "/experiment.json") {
            (json, text) = try Self.run(path)
        } else if fileExists(path + "/config.json") {
            (json, text) = try Self.checkpoint(path)
        } else {
            throw Failure.configuration(
                "\(path): expected a cache file (.h5), a safetensors file, or a directory with config.json, "
                    + "adapter_config.json or experiment.json")
        }
    }

    private static func cache(_ path: String) throws -> (JSONValue, String) {
        let file = try H5File.openForReading(path)
        var attributes: [(String, JSONValue)] = []
        for name in try file.attributeNames() {
            switch try file.attribute(name) {
            case .integer(let number): attributes.append((name, JSONValue(Int(number))))
            case .double(let number): attributes.append((name, JSONValue(number)))
            case .string(let text): attributes.append((name, .string(text)))
            case .bool(let flag): attributes.append((name, .bool(flag)))
            case nil: break
            }
        }
        var table = Table([("dataset", .left), ("type", .left), ("shape", .left), ("size", .right)])
        var datasets: [(String, JSONValue)] = []
        for name in try file.datasetPaths() {
            let dataset = try file.openDataset(name)
            let shape = [dataset.rowCount] + dataset.rowShape
            table.add([
                name, dataset.type.rawValue, shape.map(String.init).joined(separator: " x "),
                Format.bytes(dataset.rowCount * dataset.rowByteCount),
            ])
            datasets.append((name, .array(shape.map { JSONValue($0) })))
        }
        let splits = try Split.allCases.compactMap { split in
            try samples(of: split, in: file).map { (split.rawValue, $0) }
        }
        try file.close()
        return (
            .dictionary([
                ("attributes", .dictionary(attributes)), ("datasets", .dictionary(datasets)),
                ("splits", .dictionary(splits)),
            ]),
            describe(attributes) + "\n\n" + table.text
        )
    }

    /// Which samples a cache file holds of a split, and which layers of each; nil for none.
    private static func samples(of split: Split, in file: H5File) throws -> JSONValue? {
        guard let shape = try CacheSplit.shape(of: split, in: file) else { return nil }
        let samples = try file.openDataset("/\(split.rawValue)/sample_ids").read(Int64.self)
        let layers = shape.stacks.map { stack -> (String, JSONValue) in
            (
                stack.stack.rawValue,
                .array([stack.layers.lowerBound, stack.layers.upperBound].map { JSONValue($0) })
            )
        }
        return .dictionary([
            ("layers", .dictionary(layers)), ("sample_ids", .array(samples.map { JSONValue(Int($0)) })),
        ])
    }

    private static func tensors(_ path: String) throws -> (JSONValue, String) {
        let file = try SafetensorsFile(path)
        var table = Table([("tensor", .left), ("type", .left), ("shape", .left)])
        let sorted = file.entries.sorted { $0.key < $1.key }
        for (name, entry) in sorted {
            table.add([name, entry.type, entry.shape.map(String.init).joined(separator: " x ")])
        }
        let count = sorted.reduce(0) { $0 + $1.value.count }
        return (
            .dictionary(sorted.map { ($0.key, .array($0.value.shape.map { JSONValue($0) })) }),
            table.text
                + "\n\(sorted.count) tensors, \(Format.count(count)) numbers, fingerprint \(file.fingerprint)"
        )
    }

    private static func checkpoint(_ path: String) throws -> (JSONValue, String) {
        let checkpoint = try Checkpoint(path)
        let family = try readModelFamily(directory: path)
        let fields: [(String, JSONValue)] = [
            ("family", .string(family.name)), ("hidden_size", JSONValue(family.hiddenSize)),
            ("vocabulary_size", JSONValue(family.vocabularySize)),
            ("planner_layers", .array(family.plannerLayers.map { .string($0.name) })),
            ("fingerprint", .string(checkpoint.fingerprint)),
        ]
        return (.dictionary(fields), describe(fields))
    }

    private static func adapter(_ path: String) throws -> (JSONValue, String) {
        let configuration = try JSONValue(contentsOf: path + "/" + AdapterDirectory.configurationFile)
        let (_, tensorText) = try tensors(path + "/" + AdapterDirectory.tensorFile)
        let fields = (configuration.members ?? []).map { ($0.key, $0.value) }
        return (configuration, describe(fields) + "\n\n" + tensorText)
    }

    private static func run(_ path: String) throws -> (JSONValue, String) {
        let log = RunFile.metrics.path(in: path)
        let lines = try readFile(log).split(separator: UInt8(ascii: "\n"))
        var kept: [JSONValue] = []
        for (index, line) in lines.enumerated() {
            let event = try JSONValue(parsing: Array(line), file: log, firstLine: index + 1)
            if event["event"]?.string != MetricsEvent.step.rawValue { kept.append(event) }
        }
        return (
            .dictionary([
                ("experiment", try JSONValue(contentsOf: RunFile.experiment.path(in: path))),
                ("events", .array(kept)),
            ]),
            kept.map { $0.text() }.joined(separator: "\n")
        )
    }

    private static func describe(_ fields: [(String, JSONValue)]) -> String {
        fields.map { "\($0.0): \($0.1.string ?? $0.1.text())" }.joined(separator: "\n")
    }
}
