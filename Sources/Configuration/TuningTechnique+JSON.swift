import Models
import Support

/// Reads a technique's object; absent keys have their defaults.
///
/// - Throws: for a kind that is not known, and for a key that the kind does not have.
package func readTechnique(_ reader: JSONReader) throws -> any TuningTechnique {
    let kinds = [ParallelAdapters.kind, LowRankAdaptation.kind, BottleneckAdapters.kind, FullTuning.kind]
    let kind = try reader.object().optional("kind")?.choice(kinds) ?? ParallelAdapters.kind
    switch kind {
    case LowRankAdaptation.kind: return try LowRankAdaptation(reader)
    case BottleneckAdapters.kind: return try BottleneckAdapters(reader)
    case FullTuning.kind:
        _ = try reader.object(keys: ["kind"])
        return FullTuning()
    default: return try ParallelAdapters(reader)
    }
}

extension TuningTechnique {
    /// The technique as an experiment writes it, every key included.
    package var json: JSONValue {
        let settings: [(String, JSONValue)]
        switch self {
        case let technique as ParallelAdapters:
            settings = [
                ("reduction_factor", JSONValue(technique.reductionFactor)),
                ("adapter", .string(technique.adapter.rawValue)),
                ("initialization", .string(technique.initialization.rawValue)),
                ("merge", .string(technique.merge.rawValue)),
            ]
        case let technique as LowRankAdaptation:
            settings = [
                ("rank", JSONValue(technique.rank)), ("alpha", JSONValue(technique.alpha)),
                ("dropout", JSONValue(technique.dropout)),
                ("targets", technique.targets.map { .array($0.map(JSONValue.string)) } ?? .null),
            ]
        case let technique as BottleneckAdapters:
            settings = [("reduction_factor", JSONValue(technique.reductionFactor))]
        default: settings = []
        }
        return .dictionary([("kind", .string(kind))] + settings)
    }
}

extension ParallelAdapters {
    fileprivate init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: [
            "kind", "reduction_factor", "adapter", "initialization", "merge",
        ])
        self.init()
        if let value = object.optional("reduction_factor") {
            reductionFactor = try value.integer(in: 1...1 << 20)
        }
        if let value = object.optional("adapter") {
            adapter = Adapter(rawValue: try value.choice(Adapter.allCases.map(\.rawValue)))!
        }
        if let value = object.optional("initialization") {
            initialization = Initialization(
                rawValue: try value.choice(Initialization.allCases.map(\.rawValue)))!
        }
        if let value = object.optional("merge") {
            merge = Merge(rawValue: try value.choice(Merge.allCases.map(\.rawValue)))!
        }
    }
}

extension LowRankAdaptation {
    fileprivate init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["kind", "rank", "alpha", "dropout", "targets"])
        self.init()
        if let value = object.optional("rank") { rank = try value.integer(in: 1...1 << 16) }
        if let value = object.optional("alpha") { alpha = try value.number(in: 1e-6...1e6) }
        if let value = object.optional("dropout") { dropout = try value.number(in: 0...0.99) }
        if let value = object.optional("targets") {
            let names = try value.array().map { try $0.string() }
            guard !names.isEmpty else { throw value.failure(expected: "at least one name, or null") }
            targets = names
        }
    }
}

extension BottleneckAdapters {
    fileprivate init(_ reader: JSONReader) throws {
        let object = try reader.object(keys: ["kind", "reduction_factor"])
        self.init()
        if let value = object.optional("reduction_factor") {
            reductionFactor = try value.integer(in: 1...1 << 20)
        }
    }
}
