import Support

/// The techniques that this program has.
package enum TuningTechniques {
    /// In the order in which messages name them.
    package static let all: [any TuningTechnique.Type] = [
        ParallelAdapters.self, LowRankAdaptation.self, BottleneckAdapters.self, FullTuning.self,
    ]

    /// The technique of an experiment that names none.
    package static let preset: any TuningTechnique.Type = ParallelAdapters.self

    /// The technique of a kind; nil where there is none.
    package static func named(_ kind: String) -> (any TuningTechnique.Type)? { all.first { $0.kind == kind } }

    /// Reads a technique's object; absent keys have their defaults.
    ///
    /// - Parameter reader: nil where an experiment names no technique.
    /// - Throws: for a kind that is not known, and for a key that the kind does not have.
    package static func read(_ reader: JSONReader?) throws -> any TuningTechnique {
        guard let reader else { return preset.standard }
        let kind = try reader.object().optional("kind")?.choice(all.map { $0.kind }, suggestsNearest: true)
        var technique: any TuningTechnique = (kind.flatMap(named) ?? preset).standard
        try technique.read(reader.object(keys: ["kind"] + technique.settings.map(\.key)))
        return technique
    }
}

extension TuningTechnique {
    /// The technique as an experiment writes it, every key included.
    package var json: JSONValue {
        .dictionary([("kind", .string(kind))] + settings.map { ($0.key, $0.value) })
    }
}
