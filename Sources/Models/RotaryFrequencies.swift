import Support

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// The frequencies ω_p of rotary positions that a `config.json` asks for, in radians a token.
///
/// ω_p = θ^(-2p/h), plain ("default"), slowed down by a factor ("linear"), or by a factor for the slow ones alone
/// ("llama3"). Computed in float32, as Hugging Face does and as the models were trained.
package enum RotaryFrequencies {
    package static func read(_ configuration: JSONObjectReader, headSize: Int) throws -> [Float] {
        // Transformers 5 moved `rope_theta` and the scaling into one object; the older key wins where both stand.
        let settings = try
            (configuration.optional("rope_scaling") ?? configuration.optional("rope_parameters"))?
            .object()
        for object in [configuration, settings].compactMap({ $0 }) {
            if let part = object.optional("partial_rotary_factor"), try part.number() != 1 {
                throw part.failure(expected: "1: rotary positions on a part of each head are not built in")
            }
        }
        if let nested = settings?.all.first(where: { $0.value.value.members != nil }) {
            throw nested.value.failure(expected: "a number or a name: all layers turn alike")
        }
        let base =
            try (settings?.optional("rope_theta") ?? configuration.optional("rope_theta"))?
            .number(in: 1...1e12) ?? 10_000
        let plain = (0..<headSize / 2).map { 1 / powf(Float(base), Float(2 * $0) / Float(headSize)) }
        guard let settings, let type = try type(settings) else { return plain }
        func number(_ key: String) throws -> Float {
            Float(try settings.required(key).number(in: 1e-6...1e12))
        }
        switch try type.choice(["default", "linear", "llama3"]) {
        case "default": return plain
        case "linear":
            let factor = try number("factor")
            return plain.map { $0 / factor }
        default:
            let (low, high) = (try number("low_freq_factor"), try number("high_freq_factor"))
            guard low < high else {
                throw try settings.required("high_freq_factor").failure(
                    expected: "a number above low_freq_factor, which is \(low)")
            }
            return try llama3(
                plain, factor: number("factor"), low: low, high: high,
                trained: number("original_max_position_embeddings"))
        }
    }

    /// The kind of scaling, under the key's new or old name. Without one nothing may ask to be scaled.
    private static func type(_ settings: JSONObjectReader) throws -> JSONReader? {
        if let type = settings.optional("rope_type") ?? settings.optional("type") { return type }
        return settings.optional("factor") == nil ? nil : try settings.required("rope_type")
    }

    /// Wavelengths beyond `trained / low` tokens are stretched by the factor, those below `trained / high` stay, those
    /// between are interpolated. Source: Hugging Face's `_compute_llama3_parameters`.
    private static func llama3(
        _ plain: [Float], factor: Float, low: Float, high: Float, trained: Float
    ) -> [Float] {
        plain.map { frequency in
            let wavelength = 2 * Float.pi / frequency
            if wavelength < trained / high { return frequency }
            if wavelength > trained / low { return frequency / factor }
            let share = (trained / wavelength - low) / (high - low)
            return (1 - share) * frequency / factor + share * frequency
        }
    }
}
