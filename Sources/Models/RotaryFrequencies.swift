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
enum RotaryFrequencies {
    static func read(_ configuration: JSONObjectReader, headSize: Int) throws -> [Float] {
        // Transformers 5 moved `rope_theta` and the scaling into one object.
        let key = configuration.optional("rope_parameters") == nil ? "rope_scaling" : "rope_parameters"
        let scaling = try configuration.optional(key)?.object()
        let base =
            try (scaling?.optional("rope_theta") ?? configuration.optional("rope_theta"))?
            .number(in: 1...1e12) ?? 10_000
        let plain = (0..<headSize / 2).map { 1 / powf(Float(base), Float(2 * $0) / Float(headSize)) }
        guard let scaling, let type = scaling.optional("rope_type") ?? scaling.optional("type") else {
            return plain
        }
        func number(_ key: String) throws -> Float {
            Float(try scaling.required(key).number(in: 1e-6...1e12))
        }
        switch try type.string() {
        case "default": return plain
        case "linear":
            let factor = try number("factor")
            return plain.map { $0 / factor }
        case "llama3":
            return try llama3(
                plain, factor: number("factor"), low: number("low_freq_factor"),
                high: number("high_freq_factor"), trained: number("original_max_position_embeddings"))
        default: throw type.failure(expected: "one of \"default\", \"linear\", \"llama3\"")
        }
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
