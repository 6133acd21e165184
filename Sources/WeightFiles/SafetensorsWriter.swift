import Support

/// Writes float32 tensors as a `.safetensors` file, beside its place and then renamed.
///
/// - Parameter tensors: name, shape and values, in the order they are to stand.
package func writeSafetensors(
    _ tensors: [(name: String, shape: [Int], values: [Float])], metadata: [(String, String)] = [],
    to path: String
) throws {
    let writer = try SafetensorsWriter(
        tensors.map { ($0.name, $0.shape) }, metadata: metadata, to: path)
    for (name, shape, values) in tensors {
        precondition(values.count == shape.reduce(1, *), "\(name): \(values.count) values for \(shape)")
        try values.withUnsafeBufferPointer { try writer.append($0) }
    }
    try writer.finish()
}

/// A `.safetensors` file that is being written: names and shapes first, then the values, piece by piece, so that a whole
/// model need never be in memory.
package final class SafetensorsWriter {
    private let file: AtomicFile
    private var missingBytes: Int

    /// Begins a file of float32 tensors that will stand in this order.
    package init(
        _ tensors: [(name: String, shape: [Int])], metadata: [(String, String)] = [], to path: String
    )
        throws
    {
        var offset = 0
        var members: [(String, JSONValue)] = []
        if !metadata.isEmpty {
            members.append(("__metadata__", .dictionary(metadata.map { ($0.0, .string($0.1)) })))
        }
        for (name, shape) in tensors {
            let end = offset + shape.reduce(1, *) * MemoryLayout<Float>.stride
            members.append(
                (
                    name,
                    .dictionary([
                        ("dtype", "F32"), ("shape", .array(shape.map { JSONValue($0) })),
                        ("data_offsets", [JSONValue(offset), JSONValue(end)]),
                    ])
                ))
            offset = end
        }
        var header = Array(JSONValue.dictionary(members).text().utf8)
        while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
        file = try AtomicFile(path)
        missingBytes = offset
        try withUnsafeBytes(of: UInt64(header.count).littleEndian) { try file.write($0) }
        try header.withUnsafeBytes { try file.write($0) }
    }

    /// Appends values of the tensors, in any pieces but in their order.
    package func append(_ values: UnsafeBufferPointer<Float>) throws {
        missingBytes -= values.count * MemoryLayout<Float>.stride
        try file.write(UnsafeRawBufferPointer(values))
    }

    /// Puts the complete file in its place.
    package func finish() throws {
        precondition(missingBytes == 0, "\(missingBytes) bytes of tensors were not written")
        try file.commit()
    }
}
