/// How a cache file stores an activation. Whatever it is, computing is in float32.
package enum CachePrecision: String, Sendable, CaseIterable {
    case float32, float16, bfloat16

    /// Bytes of one number.
    package var byteCount: Int { self == .float32 ? 4 : 2 }
}
