import Models
import Support

extension GenerationTokens {
    /// Reads the tokens of a model that has them in `config.json` or, as newer files do, in `generation_config.json`, which
    /// then counts.
    ///
    /// - Parameters: `start` is what a decoder beside an encoder reads first where the files do not say; nil for a
    ///   decoder-only model; `ends` is the class default of `eos_token_id`.
    init(_ files: ModelConfiguration, start: Int32?, ends: [Int32]) throws {
        var first = try files.tokens("forced_bos_token_id", default: [])
        // The oldest BART files ask for it with a flag.
        if first.isEmpty,
            try files.model.optional("force_bos_token_to_be_generated")?.bool() == true
        {
            first = try files.tokens("bos_token_id", default: [0])
        }
        self.init(
            start: try start.map { try files.tokens("decoder_start_token_id", default: [$0]).first ?? $0 },
            ends: try files.tokens("eos_token_id", default: ends), forcedFirst: first.first)
    }
}
