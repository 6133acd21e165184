/// Memory that a message is sent from or received into, kept alive by the request that uses it.
///
/// A class bound, because the library holds the address until the request is complete: `bytes` must be the same region
/// for as long as the object lives.
public protocol MessageBuffer: AnyObject {
    /// The whole region.
    var bytes: UnsafeMutableRawBufferPointer { get }
}

/// A region of memory of its own, aligned to 64 bytes.
public final class ByteBuffer: MessageBuffer {
    public let bytes: UnsafeMutableRawBufferPointer

    /// Allocates `count` bytes, all zero.
    public init(count: Int) {
        bytes = .allocate(byteCount: count, alignment: 64)
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
    }

    /// Allocates a copy of some bytes.
    public init(copying source: some Collection<UInt8>) {
        bytes = .allocate(byteCount: source.count, alignment: 64)
        bytes.copyBytes(from: source)
    }

    deinit { bytes.deallocate() }

    /// A copy of the contents.
    public var array: [UInt8] { Array(bytes) }
}
