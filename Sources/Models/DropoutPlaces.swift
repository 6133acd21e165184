import Support

/// Where a family drops elements while it trains.
///
/// Hugging Face's classes have up to three probabilities for these places; here one (`training.dropout`) serves all at
/// which a family drops at all.
package struct DropoutPlaces: OptionSet, Sendable {
    package let rawValue: Int

    package init(rawValue: Int) { self.rawValue = rawValue }

    /// What a stack's embedding gives.
    package static let embedding = DropoutPlaces(rawValue: 1)
    /// The attention probabilities.
    package static let probabilities = DropoutPlaces(rawValue: 2)
    /// What the activation function of a feed-forward gives.
    package static let activations = DropoutPlaces(rawValue: 4)
    /// What an attention or a feed-forward adds to the residual stream.
    package static let outputs = DropoutPlaces(rawValue: 8)
    /// What a stack's final norm gives.
    package static let finalNorm = DropoutPlaces(rawValue: 16)

    /// Reads a family's probabilities from its `config.json`.
    ///
    /// A probability of zero leaves its places out. Where all are zero the family keeps its places, for an experiment that
    /// asks for dropout nevertheless.
    /// - Parameter keys: each with its class default and the places for which it counts, the most general first.
    /// - Returns: the first probability above zero, and the places.
    package static func read(
        _ configuration: JSONObjectReader, _ keys: [(key: String, default: Double, places: DropoutPlaces)]
    ) throws -> (probability: Double, places: DropoutPlaces) {
        let read = try keys.map {
            (try configuration.optional($0.key)?.number(in: 0...0.99) ?? $0.default, $0.places)
        }
        let used = read.filter { $0.0 > 0 }
        return (used.first?.0 ?? 0, (used.isEmpty ? read : used).reduce([]) { $0.union($1.1) })
    }
}
