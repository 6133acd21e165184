/// Turns one word into token ids.
protocol TokenModel: Sendable {
    /// The token of every id; nil where the file leaves a gap.
    var tokens: [String?] { get }
    /// Appends the ids of one word (valid UTF-8, not empty).
    func encode(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32])
    /// The id of a token, compared byte by byte.
    func id(of token: String) -> Int32?
}
