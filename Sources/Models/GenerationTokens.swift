/// The tokens between which a decoder writes.
package struct GenerationTokens: Sendable, Equatable {
    /// What a decoder reads first; nil for a decoder-only model, which continues its input.
    package let start: Int32?
    /// Any of these ends the text.
    package let ends: [Int32]
    /// The token with which every text has to begin; nil where the model chooses it.
    package let forcedFirst: Int32?

    package init(start: Int32?, ends: [Int32], forcedFirst: Int32?) {
        self.start = start
        self.ends = ends
        self.forcedFirst = forcedFirst
    }
}
